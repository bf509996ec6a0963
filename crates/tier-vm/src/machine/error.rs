//! Why a machine does not do what it is to.

use std::io;
use std::time::Duration;

use axo_tier_oci::supervise::RunnerError;

use super::end::How;
use crate::api::ApiError;

/// Why something was not done with a machine. What `console` and Firecracker's messages say is not to
/// be trusted.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// No user of its own was found for it.
    #[error("finding a user for the machine in /run/axocoatl")]
    User(#[source] io::Error),
    /// Its files or streams could not be made ready.
    #[error("{doing}")]
    Files {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Its runner did not do it.
    #[error("{doing}")]
    Runner {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: RunnerError,
    },
    /// Firecracker did not do it.
    #[error("{doing}{}", console_of(.console))]
    Api {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: ApiError,
        /// The last lines of the console.
        console: String,
    },
    /// It has ended.
    #[error("{doing}: {how}{}", console_of(.console))]
    Ended {
        /// What was being done.
        doing: &'static str,
        /// How it ended.
        how: How,
        /// The last lines of the console.
        console: String,
    },
    /// Firecracker, or the guest's agent, was not there in time.
    #[error("{doing}: it was waited for {within:?}{}", console_of(.console))]
    Silent {
        /// What was being done.
        doing: &'static str,
        /// For how long.
        within: Duration,
        /// The last lines of the console.
        console: String,
    },
    /// What stands behind the vsock's socket is no Firecracker.
    #[error("connecting to the guest: the vsock answered what it never does")]
    NoVsock,
    /// The machine was not made to be stored.
    #[error("storing the machine: it was booted without files for a snapshot; this is a bug")]
    NoTarget,
}

fn console_of(console: &str) -> String {
    match console.is_empty() {
        true => "; its console is empty".to_owned(),
        false => format!("; its console ends with:\n{console}"),
    }
}
