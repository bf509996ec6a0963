//! An end to what this process does, whatever becomes of the engine.

/// Ends this process, and with it its sandbox, unless it is dropped before. A runner that is stuck
/// hears no closed socket.
pub(super) struct Deadline(());

impl Deadline {
    #[expect(unsafe_code, reason = "there is no safe alarm")]
    pub(super) fn in_seconds(seconds: u32) -> Self {
        // SAFETY: the default action replaces whatever an embedding program left; neither call
        // touches memory. Children do not inherit an alarm.
        unsafe {
            libc::signal(libc::SIGALRM, libc::SIG_DFL);
            libc::alarm(seconds);
        }
        Self(())
    }
}

impl Drop for Deadline {
    #[expect(unsafe_code, reason = "there is no safe alarm")]
    fn drop(&mut self) {
        // SAFETY: it touches no memory.
        unsafe { libc::alarm(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::fork::fork;
    use rustix::process::{WaitOptions, waitpid};
    use std::time::Duration;

    #[test]
    fn a_process_that_is_stuck_ends_and_one_that_is_not_goes_on() {
        let after = |stuck: bool| {
            let child = fork(|| {
                let deadline = Deadline::in_seconds(1);
                if !stuck {
                    drop(deadline);
                }
                std::thread::sleep(Duration::from_millis(1500));
                7
            });
            let ended = waitpid(Some(child.unwrap()), WaitOptions::empty()).unwrap();
            let (_, status) = ended.unwrap();
            (status.exit_status(), status.terminating_signal())
        };
        assert_eq!(after(true), (None, Some(libc::SIGALRM)));
        assert_eq!(after(false), (Some(7), None));
    }
}
