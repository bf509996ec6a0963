//! Reaping: the one place that waits for children, ours and a PID 1's orphans.

use std::io;
use std::rc::Rc;

use axo_guest_proto::Status;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::Agent;
use crate::process::Reaped;

pub(crate) struct Reaper(Signal);

/// What there was to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Children {
    /// Some still run.
    Left,
    /// There is none.
    None,
}

impl Reaper {
    /// From now on no end is missed.
    pub(crate) fn new() -> io::Result<Self> {
        signal(SignalKind::child()).map(Self)
    }

    pub(crate) async fn run(mut self, agent: Rc<Agent>) {
        loop {
            reap(&agent);
            self.0.recv().await;
        }
    }
}

/// Reaps all that have ended, and tells the table in the same breath.
pub(crate) fn reap(agent: &Agent) -> Children {
    loop {
        match wait_for_any() {
            Ok(Some((pid, reaped))) => agent.table.reaped(pid, reaped),
            Ok(None) => return Children::Left,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Children::None,
        }
    }
}

#[expect(unsafe_code, reason = "only wait4 tells what a child used")]
fn wait_for_any() -> io::Result<Option<(i32, Reaped)>> {
    let mut status = 0;
    // SAFETY: a structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that live through the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Ok(None),
        1.. => Ok(Some((
            pid,
            Reaped {
                status: if libc::WIFSIGNALED(status) {
                    Status::Signal(libc::WTERMSIG(status))
                } else {
                    Status::Code(libc::WEXITSTATUS(status))
                },
                cpu_micros: micros(usage.ru_utime) + micros(usage.ru_stime),
                peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
            },
        ))),
        _ => Err(io::Error::last_os_error()),
    }
}

fn micros(time: libc::timeval) -> u64 {
    let micros = time.tv_sec * 1_000_000 + time.tv_usec;
    u64::try_from(micros).unwrap_or(0)
}
