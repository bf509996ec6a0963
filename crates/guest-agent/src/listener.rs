//! The socket that clients connect to: a Unix socket in a sandbox, vsock in a machine of its own.

use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::Mode;
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::{AddressFamily, SocketFlags, accept_with};
use rustix::process::umask;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::event_loop::register;
use crate::vsock;

/// A listening socket. One that we made in a directory is removed with this.
pub(crate) struct Listener {
    socket: AsyncFd<OwnedFd>,
    /// Only the host is heard, which is the other side of a machine's wall.
    host_alone: bool,
    path: Option<PathBuf>,
}

impl Listener {
    /// Bound by another name first and renamed: whoever finds the socket can connect to it, nobody
    /// but our user, and one that a dead agent left is replaced.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mask = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&fresh);
        umask(mask);
        let listener = listener?;
        if let Err(e) = fs::rename(&fresh, path) {
            let _ = fs::remove_file(&fresh);
            return Err(e);
        }
        let mut listener = Self::of(listener.into())?;
        listener.path = Some(path.to_owned());
        Ok(listener)
    }

    /// One that whoever started us made.
    #[expect(unsafe_code, reason = "a number is all that was given")]
    pub(crate) fn given(number: RawFd) -> io::Result<Self> {
        // SAFETY: `settle` has left this descriptor alone, and nothing else takes it. A number that
        // is none of a descriptor fails here first.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        let family = socket_domain(borrowed)?;
        let ours = [AddressFamily::UNIX, AddressFamily::VSOCK].contains(&family);
        if !ours || !socket_acceptconn(borrowed)? {
            let why = "no listening socket of Unix or vsock";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // SAFETY: as above; it is open, and owned from here on.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        match family {
            // In a session of a machine.
            AddressFamily::VSOCK => Self::of_machine(socket),
            _ => Self::of(socket),
        }
    }

    /// One of vsock.
    pub(crate) fn of_machine(socket: OwnedFd) -> io::Result<Self> {
        let mut listener = Self::of(socket)?;
        listener.host_alone = true;
        Ok(listener)
    }

    fn of(socket: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket: register(socket)?,
            host_alone: false,
            path: None,
        })
    }

    /// The next connection of somebody who is heard. Tokio knows no vsock, but a stream of either
    /// kind is read, written and shut down alike, and that is all that it does with one.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let mut ready = self.socket.readable().await?;
            let accepted = ready.try_io(|socket| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                Ok(accept_with(socket.get_ref(), flags)?)
            });
            match accepted {
                Ok(stream) => {
                    let stream = stream?;
                    if !self.host_alone || vsock::is_of_host(&stream) {
                        return UnixStream::from_std(StdStream::from(stream));
                    }
                }
                // Whoever it was has gone.
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
