//! How a machine ended.

use std::fmt;

use axo_core::chain;
use axo_runner::{MachineEnded, Status};
use axo_tier_oci::supervise::RunnerError;

/// The end of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it came.
    pub how: How,
    /// Processor time of the whole machine, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Most memory at once, in bytes.
    pub peak_memory: Option<u64>,
}

/// How a machine came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The guest rebooted or powered off.
    PoweredOff,
    /// The host's kernel killed it for memory.
    OutOfMemory,
    /// The jailer did not make the jail.
    JailerRefused(Status),
    /// Firecracker gave up, crashed, or was killed: by us, among others.
    Stopped(Status),
    /// Its runner could not start it, or was killed, and the machine with it.
    Runner(String),
}

impl End {
    /// `jailed` is whether the jailer came to its end, and so Firecracker to its beginning.
    pub(super) fn of_machine(ended: MachineEnded, jailed: bool) -> Self {
        let MachineEnded {
            status,
            out_of_memory,
            cpu_micros,
            peak_memory,
        } = ended;
        let how = match (out_of_memory, jailed, status) {
            (true, _, _) => How::OutOfMemory,
            (false, false, status) => How::JailerRefused(status),
            (false, true, Status::Exited(0)) => How::PoweredOff,
            (false, true, status) => How::Stopped(status),
        };
        Self {
            how,
            cpu_micros,
            peak_memory,
        }
    }

    pub(super) fn of_runner(error: &RunnerError) -> Self {
        Self {
            how: How::Runner(chain(error).to_string()),
            cpu_micros: None,
            peak_memory: None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest powered off"),
            Self::OutOfMemory => f.write_str("the kernel killed Firecracker for memory"),
            Self::JailerRefused(status) => {
                write!(f, "the jailer made no jail: it {}", ended(*status))
            }
            Self::Stopped(status) => {
                write!(f, "Firecracker {}", ended(*status))?;
                match meaning(*status) {
                    Some(meaning) => write!(f, ": {meaning}"),
                    None => Ok(()),
                }
            }
            Self::Runner(why) => f.write_str(why),
        }
    }
}

fn ended(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("ended with status {code}"),
        Status::Signaled(signal) => format!("was ended by signal {signal}"),
    }
}

/// Firecracker's own statuses (`FcExitCode`).
fn meaning(status: Status) -> Option<&'static str> {
    let Status::Exited(code) = status else {
        return None;
    };
    Some(match code {
        148 => "it made a system call that its filter forbids",
        149 => "it used memory that is not there (SIGBUS)",
        150 => "it used memory that is not its (SIGSEGV)",
        151 => "it wrote a file larger than it may (SIGXFSZ)",
        152 => "its configuration is bad",
        153 => "its arguments are bad",
        157 => "it executed no instruction (SIGILL)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_machine_are_told_apart() {
        let how = |status, out_of_memory, jailed| {
            let ended = MachineEnded {
                status,
                out_of_memory,
                cpu_micros: None,
                peak_memory: None,
            };
            End::of_machine(ended, jailed).how.to_string()
        };
        assert_eq!(how(Status::Exited(0), false, true), "the guest powered off");
        assert!(how(Status::Exited(148), false, true).contains("filter"));
        assert!(how(Status::Signaled(9), false, true).contains("signal 9"));
        assert!(how(Status::Signaled(9), true, true).contains("memory"));
        assert!(how(Status::Exited(1), false, false).contains("jailer"));
        // A jailer that says that all is well has made no jail either.
        assert!(how(Status::Exited(0), false, false).contains("jailer"));
    }
}
