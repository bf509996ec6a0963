//! Our side of the conversation with a runner: starting one, and the states of its sandbox, each
//! made of the one before.
//!
//! ```text
//! Sandbox::make ──▶ Waiting ──start──▶ Running ──exited──▶ Ended ──gone──▶ (nothing is left)
//! ```
//!
//! Dropped in any state, the sandbox ends: its runner sees the socket close.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;
use std::time::Duration;

use axo_runner::{Exited, Launch, PacketError, Prepare, Reply, Request, receive, send};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use crate::streams::Stream;

/// How long a runner may take to make a container or to execute its tool. On a loaded host with
/// emulated processors it takes a second.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a killed tool may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

/// Why a runner did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunnerError {
    #[error(transparent)]
    Helper(#[from] axo_helpers::HelperError),
    #[error("starting a runner")]
    Start(#[source] io::Error),
    #[error("speaking with a runner")]
    Speak(#[from] PacketError),
    #[error("a runner ended before it answered: it was killed, or this is a bug")]
    Gone,
    #[error("a runner gave no answer within {0:?}")]
    Silent(Duration),
    #[error("a runner answered what it was not asked: this is a bug, please report it")]
    Confused,
    #[error("{doing}: {why}")]
    Failed {
        doing: String,
        why: String,
        of_tool: bool,
    },
    #[error("handing over the input")]
    Input(#[source] io::Error),
}

/// A runner, and the socket between us.
pub(crate) struct Runner {
    socket: AsyncFd<OwnedFd>,
    /// Reaped by Tokio when it ends, whether or not anybody waits for it.
    process: Child,
}

impl Runner {
    #[expect(
        clippy::disallowed_methods,
        reason = "starting runners is this module's job"
    )]
    fn start() -> Result<Self, RunnerError> {
        let program = axo_helpers::runner().path()?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|e| RunnerError::Start(e.into()))?;
        // The runner reads and writes with blocking calls.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(|e| RunnerError::Start(e.into()))?;
        let process = tokio::process::Command::new(program)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(RunnerError::Start)?;
        Ok(Self {
            socket: registered(ours)?,
            process,
        })
    }

    async fn tell(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RunnerError> {
        loop {
            match send(self.socket.get_ref(), request, descriptors) {
                Ok(()) => return Ok(()),
                Err(PacketError::Io(Errno::AGAIN)) => {
                    let mut ready = self.socket.writable().await.map_err(RunnerError::Start)?;
                    ready.clear_ready();
                }
                Err(PacketError::Closed) => return Err(RunnerError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The next answer. Can be dropped and called again: a packet is read at once or not at all.
    async fn hear(&self) -> Result<(Reply, Vec<OwnedFd>), RunnerError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(RunnerError::Start)?;
            match receive(self.socket.get_ref()) {
                Ok((
                    Reply::Failed {
                        doing,
                        why,
                        of_tool,
                    },
                    _,
                )) => {
                    return Err(RunnerError::Failed {
                        doing,
                        why,
                        of_tool,
                    });
                }
                Ok(answer) => return Ok(answer),
                Err(PacketError::Io(Errno::AGAIN)) => ready.clear_ready(),
                Err(PacketError::Closed) => return Err(RunnerError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// What a runner has to do in time. One that does not is stuck or was stopped, and is killed: the
    /// kernel ends its sandbox with it.
    async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, RunnerError>>,
    ) -> Result<T, RunnerError> {
        let done = tokio::time::timeout(time, work).await;
        if done.is_err()
            && let Some(pid) = self.process.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It is not reaped as long as Tokio tells its id, so the id is its.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        done.unwrap_or(Err(RunnerError::Silent(time)))
    }

    async fn answer(&self) -> Result<(Reply, Vec<OwnedFd>), RunnerError> {
        self.within(ANSWER_TIME, self.hear()).await
    }
}

#[expect(unsafe_code, reason = "Tokio has no safe way to wait for a descriptor")]
fn registered(socket: OwnedFd) -> Result<AsyncFd<OwnedFd>, RunnerError> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    // SAFETY: an `OwnedFd` always gives the same descriptor, and closes it only when it is dropped,
    // which `AsyncFd` does after it has deregistered it.
    unsafe { AsyncFd::register_with_interest(socket, interest) }
        .map_err(|e| RunnerError::Start(e.into()))
}

/// A container that waits for a call.
pub(crate) struct Waiting {
    runner: Runner,
    input: File,
    stdout: Stream,
    stderr: Stream,
}

impl Waiting {
    /// Makes a sandbox of `prepare` with this root and these sources of its binds.
    pub(crate) async fn make(
        prepare: Prepare,
        root: &OwnedFd,
        binds: &[BorrowedFd<'_>],
    ) -> Result<Self, RunnerError> {
        let runner = Runner::start()?;
        let (stdout, their_stdout) = Stream::new().map_err(RunnerError::Start)?;
        let (stderr, their_stderr) = Stream::new().map_err(RunnerError::Start)?;
        let streams = [their_stdout.as_fd(), their_stderr.as_fd(), root.as_fd()];
        let descriptors = [&streams, binds].concat();
        runner
            .tell(&Request::Prepare(Box::new(prepare)), &descriptors)
            .await?;
        // Only the tool writes to its streams, so that they end with it.
        drop((their_stdout, their_stderr));
        let (reply, files) = runner.answer().await?;
        match (reply, files.into_iter().next()) {
            (Reply::Prepared, Some(input)) => Ok(Self {
                runner,
                input: input.into(),
                stdout,
                stderr,
            }),
            _ => Err(RunnerError::Confused),
        }
    }

    /// Whether its runner still lives, as far as can be told without waiting.
    pub(crate) fn lives(&self) -> bool {
        let mut one = [rustix::event::PollFd::new(
            self.runner.socket.get_ref(),
            rustix::event::PollFlags::IN,
        )];
        // A runner has nothing to say here but that something ended.
        rustix::event::poll(&mut one, Some(&rustix::event::Timespec::default())) == Ok(0)
    }

    /// Hands over the input and starts the tool.
    pub(crate) async fn start(
        self,
        input: &[u8],
        launch: Launch,
        output_limit: usize,
    ) -> Result<Running, RunnerError> {
        let Self {
            runner,
            input: file,
            mut stdout,
            mut stderr,
        } = self;
        file.write_all_at(input, 0).map_err(RunnerError::Input)?;
        drop(file);
        stdout.limit(output_limit);
        stderr.limit(output_limit);
        runner.tell(&Request::Start(launch), &[]).await?;
        match runner.answer().await? {
            (Reply::Started, _) => Ok(Running {
                runner,
                stdout,
                stderr,
            }),
            _ => Err(RunnerError::Confused),
        }
    }
}

/// A container whose tool runs. Its parts are waited for at once.
pub(crate) struct Running {
    pub(crate) runner: Runner,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

impl Runner {
    /// Waits for the end of the tool. Can be dropped and called again.
    pub(crate) async fn exited(&self) -> Result<(Exited, Option<File>), RunnerError> {
        match self.hear().await? {
            (Reply::Exited(exited), files) => {
                Ok((exited, files.into_iter().next().map(File::from)))
            }
            _ => Err(RunnerError::Confused),
        }
    }

    /// Ends the tool, and waits for that.
    pub(crate) async fn kill(&self) -> Result<(Exited, Option<File>), RunnerError> {
        match self.tell(&Request::Kill, &[]).await {
            // It has just ended by itself, and the runner with it: the answer is there.
            Ok(()) | Err(RunnerError::Gone) => {}
            Err(e) => return Err(e),
        }
        self.within(KILL_TIME, self.exited()).await
    }
}

impl Running {
    /// The tool has ended: what it wrote, and the runner, which is clearing up.
    pub(crate) fn ended(self) -> (Ended, Vec<u8>, Vec<u8>) {
        (
            Ended(self.runner),
            self.stdout.into_kept(),
            self.stderr.into_kept(),
        )
    }
}

/// A sandbox whose tool has ended, and whose runner is clearing up.
pub(crate) struct Ended(Runner);

impl Ended {
    /// Waits until nothing is left of it.
    pub(crate) async fn gone(self) -> Result<(), RunnerError> {
        match self.0.within(KILL_TIME, self.0.hear()).await {
            Err(RunnerError::Gone) => Ok(()),
            Ok(_) => Err(RunnerError::Confused),
            Err(e) => Err(e),
        }
    }
}
