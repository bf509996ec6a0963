//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use axo_guest_proto::Size;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// End of input, as the terminal's line discipline takes it by default (`VEOF`).
pub(super) const END_OF_INPUT: &[u8] = b"\x04";

/// Our end, non-blocking, and the process's.
pub(super) fn open(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    // By descriptor: the sandbox's /dev/pts is not ours to trust, or not there.
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    resize(&ours, size)?;
    fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// The kernel tells the processes in the foreground (`SIGWINCH`).
pub(super) fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    Ok(tcsetwinsize(
        terminal,
        Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?)
}
