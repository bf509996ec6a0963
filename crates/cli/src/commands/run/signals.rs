//! The user's wish that a call end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

#[derive(Debug, thiserror::Error)]
#[error("interrupted: the tool was stopped")]
pub(super) struct Interrupted;

/// The signals that ask us to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on they end the call and not the process, so that it is recorded and cleaned up.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn wait(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
