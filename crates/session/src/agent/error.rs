//! Why an agent did not do what it was asked.

use std::io;
use std::time::Duration;

use axo_guest_proto::{Code, Failure, GENERATION, ProtocolError, Reply};

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens.
    #[error("the session's agent cannot be reached; `axocoatl session ls` says what became of it")]
    Unreachable(#[source] io::Error),
    /// Podman starts no bridge to it.
    #[error(
        "podman does not reach the session's agent: {0}; `axocoatl session ls` says what became of it"
    )]
    NoBridge(String),
    /// It takes too long.
    #[error("the session's agent did not answer within {} s; stop the session if it stays so", .0.as_secs())]
    Late(Duration),
    /// The connection ended in the middle.
    #[error(
        "the connection to the session's agent ended; `axocoatl session ls` says what became of it"
    )]
    Broken(#[source] io::Error),
    /// It cannot be asked: what is to be said is longer, or more, than a request holds.
    #[error("this cannot be asked of a session: {0}; ask for less")]
    Request(ProtocolError),
    /// It does not keep to the protocol: another program answers, or a hostile one.
    #[error(
        "the session's agent breaks the protocol; stop the session, and do not trust what it said"
    )]
    Protocol(#[from] ProtocolError),
    /// It answers something else than what was asked.
    #[error(
        "the session's agent answered {answer} out of turn; stop the session, and do not trust what it said"
    )]
    Unexpected {
        /// What it answered.
        answer: &'static str,
    },
    /// It speaks another generation.
    #[error(
        "the session's agent speaks generation {0} of the protocol and we speak {GENERATION}: \
         the session was made by another version of axocoatl; use that, or make a new session"
    )]
    Generation(u32),
    /// It could not do it, and says why.
    #[error("{0}")]
    Failed(Failure),
    /// Our own side of a copy failed.
    #[error("{doing} on this host")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl AgentError {
    pub(super) fn unexpected(reply: &Reply) -> Self {
        let answer = match reply {
            Reply::Failed(failure) => return Self::Failed(failure.clone()),
            Reply::Started { .. } => "Started",
            Reply::Attached { .. } => "Attached",
            Reply::Gap { .. } => "Gap",
            Reply::Exited(_) => "Exited",
            Reply::Processes(_) => "Processes",
            Reply::Entries(_) => "Entries",
            Reply::Listed { .. } => "Listed",
            Reply::Stat(_) => "Stat",
            Reply::Written { .. } => "Written",
            Reply::Watching => "Watching",
            Reply::Events(_) => "Events",
            Reply::Metrics(_) => "Metrics",
            Reply::ToolStarted => "ToolStarted",
            Reply::ToolEnded(_) => "ToolEnded",
            Reply::Done => "Done",
        };
        Self::Unexpected { answer }
    }

    pub(super) fn host(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { doing, source }
    }

    /// The kind of the agent's own reason, if it gave one.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Failed(failure) => Some(failure.code),
            _ => None,
        }
    }
}
