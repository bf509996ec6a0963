//! What sessions live in: containers of podman's, or machines.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use crate::container::{Containers, Fate};
use crate::means::Means;
use crate::record::Record;
use crate::table::Table;
use crate::{SessionError, SessionId, State, Transport, machine};

/// The name of an agent's socket in its directory.
pub(crate) const SOCKET: &str = "agent.sock";

/// What sessions of one tier live in.
pub(crate) enum SessionHost {
    Podman(Arc<Containers>, Table),
    Machine(Means),
}

impl SessionHost {
    /// Makes what the session of `record` lives in, and starts its agent there.
    pub(crate) async fn make(&self, record: &Record, rootfs: &Path) -> Result<(), SessionError> {
        match self {
            Self::Podman(containers, table) => {
                let socket = match record.transport {
                    Transport::Socket => Some(listen(&table.socket_directory(&record.id))?),
                    Transport::Bridge => None,
                };
                containers.start(record, rootfs, socket).await
            }
            Self::Machine(means) => machine::start(means, record, rootfs).await,
        }
    }

    /// What has become of it.
    pub(crate) async fn look(&self, id: &SessionId) -> Result<Fate, SessionError> {
        match self {
            Self::Podman(containers, _) => containers.look(id).await,
            Self::Machine(means) => machine::look(means, id).await,
        }
    }

    /// What it said last, fit to be shown.
    pub(crate) async fn said(&self, id: &SessionId) -> String {
        match self {
            Self::Podman(containers, _) => containers.said(id).await,
            Self::Machine(means) => machine::said(means, id),
        }
    }

    /// To which end a session has come whose host ended with this status, and why.
    pub(crate) async fn ended(&self, id: &SessionId, code: i32) -> (State, String) {
        match (self, code) {
            (Self::Podman(containers, _), 0) => {
                let said = containers.said(id).await;
                (State::Stopped, format!("it ended by itself: {said}"))
            }
            (Self::Podman(..), code) => {
                let why = format!(
                    "its container ended with status {code}: killed, out of memory, past its total \
                     time, or the host was restarted"
                );
                (State::Lost, why)
            }
            (Self::Machine(means), _) => machine::ended(means, id),
        }
    }

    /// Ends and removes it, if it is there.
    pub(crate) async fn remove(&self, id: &SessionId) -> Result<(), SessionError> {
        match self {
            Self::Podman(containers, _) => containers.remove(id).await,
            Self::Machine(means) => machine::remove(means, id).await,
        }
    }
}

/// The agent's listening socket. The session gets its descriptor alone: nothing in the session can
/// reach the directory, take the name, or fill the disk through it.
fn listen(directory: &Path) -> Result<OwnedFd, SessionError> {
    let path = directory.join(SOCKET);
    let bind = || {
        let opened = std::fs::File::open(directory)?;
        // Any path fits into an address this way.
        UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd()))
    };
    let listener = bind().map_err(SessionError::disk("listening on", &path))?;
    Ok(listener.into())
}
