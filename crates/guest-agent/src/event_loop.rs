//! Descriptors that the event loop watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor, which has to be non-blocking.
#[expect(
    unsafe_code,
    reason = "the event loop knows a descriptor by its number"
)]
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the number of an `OwnedFd` is the same until it is dropped, and `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
