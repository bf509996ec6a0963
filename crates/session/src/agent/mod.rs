//! The guest agent of a session, from the host's side. Every byte of it is hostile: lengths are
//! checked before memory is taken, and every wait has a deadline but those for a process's output and
//! input and for changes of files, where the caller decides how long to wait.

mod connection;
pub(crate) mod copy;
mod error;
mod files;
#[cfg(test)]
mod hostile;
mod process;
#[cfg(test)]
pub(crate) mod stand_in;

pub use axo_guest_proto as proto;
pub(crate) use connection::Endpoint;
pub use copy::{Copied, CopyError, CopyLimits, CopyProgress};
pub use error::AgentError;
pub use files::{Files, Listing, Watcher};
pub use process::{Input, Output, Process, ProcessEvent, Run};

use std::time::Duration;

use connection::{ANSWER, within};
use proto::{Metrics, Position, ProcessId, ProcessInfo, Reply, Request, Size};

/// The agent of a running session.
#[derive(Clone, Debug)]
pub struct Agent {
    endpoint: Endpoint,
}

/// Most processes that are listed: more than an agent of ours keeps, running and ended.
const MAX_PROCESSES: usize = 8192;

impl Agent {
    pub(crate) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Whether it answers, and as which version.
    ///
    /// # Errors
    /// [`AgentError`] says why not.
    pub async fn hello(&self) -> Result<String, AgentError> {
        within(ANSWER, async {
            let request = Request::Metrics { path: Vec::new() };
            let mut connection = self.endpoint.ask(&request).await?;
            let version = connection.version().to_owned();
            match connection.reply().await? {
                Reply::Metrics(_) => Ok(version),
                other => Err(AgentError::unexpected(&other)),
            }
        })
        .await
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if it cannot be started.
    pub async fn start(&self, run: Run) -> Result<Process, AgentError> {
        Process::start(&self.endpoint, run).await
    }

    /// Hears a process that runs already, from `from` on.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if there is no such process.
    pub async fn attach(&self, attach: proto::Attach) -> Result<Process, AgentError> {
        Process::attach(&self.endpoint, attach).await
    }

    /// What a process has written, as far as it is retained.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if there is no such process.
    pub async fn retained(&self, process: ProcessId) -> Result<Process, AgentError> {
        self.attach(proto::Attach {
            process,
            from: Position::Start,
            follow: false,
            steer: false,
            lossless: true,
        })
        .await
    }

    /// The processes the agent started, those that ended too.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>, AgentError> {
        within(ANSWER, async {
            let mut connection = self.endpoint.ask(&Request::Processes).await?;
            let mut all = Vec::new();
            loop {
                match connection.reply().await? {
                    Reply::Processes(some)
                        if !some.is_empty() && all.len() + some.len() <= MAX_PROCESSES =>
                    {
                        all.extend(some)
                    }
                    Reply::Done => return Ok(all),
                    other => return Err(AgentError::unexpected(&other)),
                }
            }
        })
        .await
    }

    /// Sends a signal to a process and its group.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if there is no such process, or it has ended.
    pub async fn signal(&self, process: ProcessId, signal: i32) -> Result<(), AgentError> {
        self.done(&Request::Signal { process, signal }).await
    }

    /// Resizes a process's terminal.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if it has none.
    pub async fn resize(&self, process: ProcessId, size: Size) -> Result<(), AgentError> {
        self.done(&Request::Resize { process, size }).await
    }

    /// Forgets a process that has ended.
    ///
    /// # Errors
    /// [`AgentError::Failed`] if it runs.
    pub async fn forget(&self, process: ProcessId) -> Result<(), AgentError> {
        self.done(&Request::Forget { process }).await
    }

    /// What the session uses, and how full the file system of `path` is, if that is not empty.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn metrics(&self, path: &[u8]) -> Result<Metrics, AgentError> {
        let request = Request::Metrics {
            path: path.to_vec(),
        };
        within(ANSWER, async {
            match self.endpoint.ask(&request).await?.reply().await? {
                Reply::Metrics(metrics) => Ok(metrics),
                other => Err(AgentError::unexpected(&other)),
            }
        })
        .await
    }

    /// Ends all processes, with `grace` between `SIGTERM` and `SIGKILL`, and the agent itself.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn shut_down(&self, grace: Duration) -> Result<(), AgentError> {
        let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.done(&Request::Shutdown { grace_millis }).await
    }

    /// The files beneath `root`, an absolute directory of the session.
    #[must_use]
    pub fn files(&self, root: impl Into<Vec<u8>>) -> Files {
        Files::new(self.endpoint.clone(), root.into())
    }

    async fn done(&self, request: &Request) -> Result<(), AgentError> {
        within(ANSWER, async {
            self.endpoint.ask(request).await?.done().await
        })
        .await
    }
}
