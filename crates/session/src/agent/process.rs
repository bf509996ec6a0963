//! Processes of a session: starting them, hearing them, steering them.

use axo_guest_proto::{
    Attach, Exited, Kind, Lifetime, Limits, Message as _, ProcessId, ProcessInfo, Reply, Request,
    Size, Start, Steering, User, bounds,
};

use super::AgentError;
use super::connection::{Connection, Endpoint, Receiver, Sender};

/// A process to be started.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Program and arguments. A program without a slash is looked for in `PATH`.
    pub arguments: Vec<Vec<u8>>,
    /// Variables beside the session's.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its working directory; the session's if there is none.
    pub directory: Option<Vec<u8>>,
    /// Whom it runs as; the session's user if nobody else.
    pub user: Option<User>,
    /// Its terminal; pipes if there is none.
    pub terminal: Option<Size>,
    /// What ends it.
    pub limits: Limits,
    /// Bytes of its output that stay readable; 1 MiB if nothing is said.
    pub retain: Option<u64>,
    /// Whether it outlives the connection that started it.
    pub lifetime: Lifetime,
    /// Whether it has an input.
    pub input: bool,
    /// Whether its output and its end are told here.
    pub follow: bool,
    /// What lists show.
    pub label: Vec<u8>,
}

impl Run {
    /// A process whose output is heard, and which ends with whoever started it.
    #[must_use]
    pub fn new<T: Into<Vec<u8>>>(arguments: impl IntoIterator<Item = T>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            follow: true,
            ..Self::default()
        }
    }

    /// The same with input.
    #[must_use]
    pub fn with_input(mut self) -> Self {
        self.input = true;
        self
    }

    /// The same in a terminal, which outlives whoever started it: it can be attached to again.
    #[must_use]
    pub fn in_terminal(mut self, size: Size) -> Self {
        self.terminal = Some(size);
        self.input = true;
        self.lifetime = Lifetime::Detached;
        self
    }

    /// A process that goes on by itself, unheard.
    #[must_use]
    pub fn in_background(mut self) -> Self {
        self.lifetime = Lifetime::Detached;
        self.follow = false;
        self
    }

    fn into_start(self) -> Start {
        Start {
            arguments: self.arguments,
            environment: self.environment,
            directory: self.directory.unwrap_or_default(),
            user: self.user,
            terminal: self.terminal,
            limits: self.limits,
            retain: self.retain.unwrap_or(bounds::DEFAULT_RETAIN),
            lifetime: self.lifetime,
            input: self.input,
            follow: self.follow,
            label: self.label,
        }
    }
}

/// A process that was started or is attached to.
pub struct Process {
    id: ProcessId,
    attached: Option<(Box<ProcessInfo>, u64)>,
    output: Output,
    input: Input,
}

/// What a process says.
pub struct Output {
    receiver: Receiver,
    /// Of the next byte.
    offset: u64,
    ended: bool,
}

/// What is said to a process.
pub struct Input {
    sender: Sender,
}

/// Something a process says.
#[derive(Debug, PartialEq, Eq)]
pub enum ProcessEvent<'a> {
    /// Bytes of its standard output, or its terminal.
    Output(&'a [u8]),
    /// Bytes of its standard error.
    Error(&'a [u8]),
    /// So many bytes were not kept.
    Gap(u64),
    /// It has ended. Nothing comes after this.
    Exited(Exited),
    /// It runs on; that was what is retained. Nothing comes after this.
    Done,
}

impl Process {
    pub(super) async fn start(endpoint: &Endpoint, run: Run) -> Result<Self, AgentError> {
        let request = Request::Start(Box::new(run.into_start()));
        let mut connection = endpoint.ask(&request).await?;
        match connection.reply().await? {
            Reply::Started { process, .. } => Ok(Self::of(connection, process, None)),
            other => Err(AgentError::unexpected(&other)),
        }
    }

    pub(super) async fn attach(endpoint: &Endpoint, attach: Attach) -> Result<Self, AgentError> {
        let process = attach.process;
        let mut connection = endpoint.ask(&Request::Attach(attach)).await?;
        match connection.reply().await? {
            Reply::Attached { info, offset, lost } if info.process == process => {
                let mut attached = Self::of(connection, process, Some((info, lost)));
                attached.output.offset = offset;
                Ok(attached)
            }
            other => Err(AgentError::unexpected(&other)),
        }
    }

    fn of(
        connection: Connection,
        id: ProcessId,
        attached: Option<(Box<ProcessInfo>, u64)>,
    ) -> Self {
        Self {
            id,
            attached,
            output: Output {
                receiver: connection.receiver,
                offset: 0,
                ended: false,
            },
            input: Input {
                sender: connection.sender,
            },
        }
    }

    /// By which it is attached to, signalled and listed.
    #[must_use]
    pub const fn id(&self) -> ProcessId {
        self.id
    }

    /// What was known of it when it was attached to.
    #[must_use]
    pub fn info(&self) -> Option<&ProcessInfo> {
        self.attached.as_ref().map(|(info, _)| &**info)
    }

    /// Bytes of output that were asked for when it was attached to, and no longer retained.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.attached.as_ref().map_or(0, |(_, lost)| *lost)
    }

    /// The next thing it says; see [`Output::next`].
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn next(&mut self) -> Result<Option<ProcessEvent<'_>>, AgentError> {
        self.output.next().await
    }

    /// Both directions, to be used side by side.
    #[must_use]
    pub fn split(self) -> (Output, Input) {
        (self.output, self.input)
    }
}

impl Output {
    /// The next thing the process says, however long it takes; `None` after its end. Nothing is lost
    /// if this is cancelled.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn next(&mut self) -> Result<Option<ProcessEvent<'_>>, AgentError> {
        if self.ended {
            return Ok(None);
        }
        let kind = self.receiver.frame(None).await?;
        let payload = self.receiver.payload();
        let length = payload.len() as u64;
        Ok(Some(match kind {
            Kind::Output => {
                self.offset += length;
                ProcessEvent::Output(payload)
            }
            Kind::Error => {
                self.offset += length;
                ProcessEvent::Error(payload)
            }
            Kind::Control => match Reply::from_payload(payload)? {
                Reply::Gap { lost } => {
                    self.offset = self.offset.saturating_add(lost);
                    ProcessEvent::Gap(lost)
                }
                Reply::Exited(exited) => {
                    self.ended = true;
                    ProcessEvent::Exited(exited)
                }
                Reply::Done => {
                    self.ended = true;
                    ProcessEvent::Done
                }
                other => return Err(AgentError::unexpected(&other)),
            },
            Kind::Hello | Kind::Input => {
                return Err(AgentError::Unexpected {
                    answer: "a frame that is a client's",
                });
            }
        }))
    }

    /// The offset of the next byte of output: where to attach again.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

impl Input {
    /// Writes to the process's input, as fast as it takes it.
    ///
    /// # Errors
    /// [`AgentError::Broken`] once the process has ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        for chunk in bytes.chunks(axo_guest_proto::MAX_PAYLOAD) {
            self.sender.input(chunk).await?;
        }
        Ok(())
    }

    /// Ends the process's input.
    ///
    /// # Errors
    /// [`AgentError::Broken`] once the process has ended.
    pub async fn end(&mut self) -> Result<(), AgentError> {
        self.sender.input(&[]).await
    }

    /// Resizes its terminal.
    ///
    /// # Errors
    /// [`AgentError::Broken`] once the process has ended.
    pub async fn resize(&mut self, size: Size) -> Result<(), AgentError> {
        self.sender.send(&Steering::Resize(size)).await
    }

    /// Sends a signal (1 to 31) to it and its group.
    ///
    /// # Errors
    /// [`AgentError::Broken`] once the process has ended.
    pub async fn signal(&mut self, signal: i32) -> Result<(), AgentError> {
        self.sender.send(&Steering::Signal(signal)).await
    }
}
