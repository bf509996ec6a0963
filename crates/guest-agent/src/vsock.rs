//! The sockets between a machine and its host. Two calls are all that this takes, which neither the
//! standard library nor rustix have.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, listen, socket_with};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens on a port, whatever number the machine has: another one after every restore.
pub(crate) fn listen_on(port: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    bind(&socket, libc::VMADDR_CID_ANY, port)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "there is no safe way to name a port of vsock")]
fn bind(socket: &OwnedFd, cid: u32, port: u32) -> io::Result<()> {
    let mut address = no_address();
    address.svm_family = FAMILY;
    address.svm_cid = cid;
    address.svm_port = port;
    // SAFETY: the address is that of the family, its size is told, and it outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), SIZE) };
    match bound {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the other side of a connection is the host, and nobody in the machine itself.
#[expect(
    unsafe_code,
    reason = "there is no safe way to ask for a peer of vsock"
)]
pub(crate) fn is_of_host(stream: &OwnedFd) -> bool {
    let mut address = no_address();
    let mut size = SIZE;
    // SAFETY: the kernel writes no more than the size it is told, and both outlive the call.
    let told =
        unsafe { libc::getpeername(stream.as_raw_fd(), (&raw mut address).cast(), &raw mut size) };
    told == 0 && address.svm_family == FAMILY && address.svm_cid == libc::VMADDR_CID_HOST
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "families are small numbers"
)]
const FAMILY: libc::sa_family_t = libc::AF_VSOCK as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "16 bytes")]
const SIZE: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

#[expect(unsafe_code, reason = "its padding has no name")]
fn no_address() -> libc::sockaddr_vm {
    // SAFETY: a structure of numbers.
    unsafe { std::mem::zeroed() }
}
