//! What a process has open: closing it, and what is at its other end.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Closes every descriptor above standard error but `kept`. For a process that uses none of them any
/// more: one that has just begun, is about to execute a program, or only waits.
pub(super) fn close_all_but(kept: Option<BorrowedFd<'_>>) {
    close_from(3, kept);
}

/// The same from this number on.
#[expect(unsafe_code, reason = "no safe function closes a range of descriptors")]
pub(super) fn close_from(from: i32, kept: Option<BorrowedFd<'_>>) {
    let from = from.unsigned_abs();
    let kept = kept.map(|kept| kept.as_raw_fd().unsigned_abs());
    let ranges = match kept {
        Some(kept) => [
            (from, kept.saturating_sub(1)),
            (kept.saturating_add(1).max(from), u32::MAX),
        ],
        None => [(from, u32::MAX), (1, 0)],
    };
    for (first, last) in ranges {
        if first <= last {
            // SAFETY: the caller says that nothing in this process uses them any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Closes a child's copy of what its parent owns.
#[expect(
    unsafe_code,
    reason = "the value stays with the parent, whose copy is another"
)]
pub(super) fn close_in_child(end: BorrowedFd<'_>) {
    // SAFETY: the child exits without dropping what it has of its parent's, and uses it no more.
    unsafe { libc::close(end.as_raw_fd()) };
}

/// Whether nobody has the other end of this socket any more.
pub(super) fn is_closed(socket: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut one = [PollFd::new(&socket, PollFlags::empty())];
    // Whether there is something to read is not asked; that the other end is gone is always told.
    poll(&mut one, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Two ends of a socket that keeps messages apart.
pub(super) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}
