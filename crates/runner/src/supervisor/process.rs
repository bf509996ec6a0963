//! The first process of a pid namespace, and with it every other.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use axo_runner::Status;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};

use super::step::{Failed, Step as _};

/// A child of this process that is the first of a pid namespace: the kernel kills all others with
/// it. Dropped before it is reaped, it ends.
pub(super) struct FirstProcess {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl FirstProcess {
    pub(super) fn new(pid: Pid) -> rustix::io::Result<Self> {
        Ok(Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            reaped: false,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Becomes readable when it has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn kill(&self) {
        // It fails where it has ended, which is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended. Once it is reaped, nothing of its pid namespace lives.
    pub(super) fn reap(mut self, doing: &str) -> Result<Status, Failed> {
        let ended = waitpid(Some(self.pid), WaitOptions::empty()).step(doing)?;
        self.reaped = true;
        let Some((_, status)) = ended else {
            return Err(Failed::new(doing, "it has none"));
        };
        status_of(status).ok_or_else(|| Failed::new(doing, "it neither exited nor was killed"))
    }
}

impl Drop for FirstProcess {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

/// A status of `wait(2)`; none of a process that lives.
pub(super) fn status_of(status: rustix::process::WaitStatus) -> Option<Status> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Status::Exited(code)),
        (None, Some(signal)) => Some(Status::Signaled(signal)),
        (None, None) => None,
    }
}
