//! The root directory of a machine's jail, as the engine sees it: the machine's own directory, in
//! which Firecracker listens. What is there is hostile as soon as a guest runs.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use tokio::net::UnixStream;

/// Opened with `O_PATH`. It is in the runner's mount namespace, and nowhere on the host.
pub(crate) struct JailRoot(OwnedFd);

impl JailRoot {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Connects to a socket there. Nothing is followed: a Firecracker gone wrong could lead us by a
    /// link to a socket of the host's, with our rights.
    pub(crate) async fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let socket = openat2(
            &self.0,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH
                | ResolveFlags::NO_SYMLINKS
                | ResolveFlags::NO_MAGICLINKS
                | ResolveFlags::NO_XDEV,
        )?;
        if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
            let why = format!("{name} in the jail is no socket");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
    }

    /// Whether something is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn a_socket_is_reached_and_a_link_to_another_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let jail = home.path().join("jail");
        std::fs::create_dir(&jail).unwrap();
        let _ours = UnixListener::bind(jail.join("v.sock")).unwrap();
        let hosts = UnixListener::bind(home.path().join("host.sock")).unwrap();
        hosts.set_nonblocking(true).unwrap();
        std::os::unix::fs::symlink("../host.sock", jail.join("relative")).unwrap();
        std::os::unix::fs::symlink(home.path().join("host.sock"), jail.join("absolute")).unwrap();
        std::fs::write(jail.join("file"), "").unwrap();
        let root = JailRoot::new(File::open(&jail).unwrap().into());
        root.connect("v.sock").await.unwrap();
        for name in ["relative", "absolute", "../host.sock", "file", "absent"] {
            assert!(root.connect(name).await.is_err(), "{name}");
        }
        let reached = hosts.accept().map(drop).map_err(|e| e.kind());
        assert_eq!(reached, Err(io::ErrorKind::WouldBlock));
        assert!(root.has("file") && !root.has("absent"));
    }
}
