//! The loopback interface of a container, which is its only one. It may not bring it up itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::fork::fork;
use super::step::{Failed, Step as _};

/// Brings it up where this process is. A child does it: this process stays where it is.
pub(super) fn bring_up(process: Pid) -> Result<(), Failed> {
    const DOING: &str = "bringing up the loopback interface";
    let namespace = File::open(format!("/proc/{}/ns/net", process.as_raw_nonzero())).step(DOING)?;
    let child = fork(|| match enter_and_set(&namespace) {
        Ok(()) => 0,
        Err(error) => error
            .raw_os_error()
            .filter(|number| *number > 0)
            .unwrap_or(255),
    });
    let ended = waitpid(Some(child.step(DOING)?), WaitOptions::empty()).step(DOING)?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number)).step(DOING),
        None => Err(Failed::new(DOING, "who did it was killed")),
    }
}

#[expect(
    unsafe_code,
    reason = "there is no safe way to set the flags of an interface"
)]
fn enter_and_set(namespace: &File) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    // SAFETY: a structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: the kernel reads a structure of this call, which outlives it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
