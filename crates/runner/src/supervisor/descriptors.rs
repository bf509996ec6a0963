//! Closing what a process has open.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Closes every descriptor above standard error but `kept`. For a process that uses none of them any
/// more: one that has just begun, is about to execute a program, or only waits.
#[expect(unsafe_code, reason = "no safe function closes a range of descriptors")]
pub(super) fn close_all_but(kept: Option<BorrowedFd<'_>>) {
    let kept = kept.map(|kept| kept.as_raw_fd().unsigned_abs());
    let ranges = match kept {
        Some(kept) => [
            (3, kept.saturating_sub(1)),
            (kept.saturating_add(1), u32::MAX),
        ],
        None => [(3, u32::MAX), (1, 0)],
    };
    for (first, last) in ranges {
        if first <= last {
            // SAFETY: the caller says that nothing in this process uses them any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}
