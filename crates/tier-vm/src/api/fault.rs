//! What becomes of a request that is not done.

use std::io;
use std::time::Duration;

/// Why Firecracker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Its socket cannot be reached.
    #[error("reaching Firecracker to {asked}")]
    Connect {
        /// What was asked.
        asked: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The connection ended, or what came is no HTTP.
    #[error("speaking with Firecracker to {asked}")]
    Broken {
        /// What was asked.
        asked: &'static str,
        /// Why.
        source: hyper::Error,
    },
    /// It said nothing in time.
    #[error("Firecracker was asked to {asked}, and has not answered within {within:?}")]
    Silent {
        /// What was asked.
        asked: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// It says that it will not, or could not.
    #[error("Firecracker was asked to {asked}, and answered {status}: {message}")]
    Refused {
        /// What was asked.
        asked: &'static str,
        /// The HTTP status.
        status: u16,
        /// Its `fault_message`, which is not to be trusted.
        message: String,
    },
    /// It answered what its API does not have.
    #[error("Firecracker was asked to {asked}, and its answer {problem}")]
    Malformed {
        /// What was asked.
        asked: &'static str,
        /// What is wrong with the answer.
        problem: &'static str,
    },
}
