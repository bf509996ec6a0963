//! How long things may take on this processor.

use std::time::Duration;

/// `time`, or ten times that on a processor that is emulated (`AXO_EMULATED` is set).
pub(crate) fn paced(time: Duration) -> Duration {
    match std::env::var_os("AXO_EMULATED") {
        Some(_) => 10 * time,
        None => time,
    }
}
