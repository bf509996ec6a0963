//! A root file system: a directory in which nothing that is mounted on is a link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

/// Directories of a root file system that something of ours is mounted on.
pub(crate) const MOUNT_POINTS: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/axocoatl"];

/// Why a directory is no root file system.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error(
        "its root file system {path} cannot be opened: it must be a directory, with no symbolic link on the way"
    )]
    Open { path: String, source: io::Error },
    #[error(
        "{0} in its root file system is a symbolic link, or lies behind one: what is mounted there would land elsewhere"
    )]
    Link(String),
    #[error("{0} in its root file system is not a directory")]
    NotDirectory(String),
    #[error("examining {path} in its root file system")]
    Examine { path: String, source: io::Error },
}

/// Opens a directory of the host, following no symbolic link anywhere on the way.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// What tells a directory from another, and from itself after it was replaced or changed.
pub(crate) fn identity(directory: impl AsFd) -> String {
    fstat(directory).map_or_else(
        |_| uuid::Uuid::new_v4().to_string(),
        |s| {
            format!(
                "{}:{}:{}.{}",
                s.st_dev, s.st_ino, s.st_ctime, s.st_ctime_nsec
            )
        },
    )
}

/// Checks every directory that is mounted on: ours, and the targets of granted mounts. One that is
/// missing is made when a container is.
pub(crate) fn check<'a>(
    root: &OwnedFd,
    targets: impl IntoIterator<Item = &'a str>,
) -> Result<(), RootError> {
    for path in MOUNT_POINTS.into_iter().chain(targets) {
        let opened = openat2(
            root,
            path.trim_start_matches('/'),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        match opened {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(Errno::LOOP) => return Err(RootError::Link(path.to_owned())),
            Err(Errno::NOTDIR) => {
                // A link's own type is "not a directory" to some kernels.
                return Err(match is_link(root, path) {
                    true => RootError::Link(path.to_owned()),
                    false => RootError::NotDirectory(path.to_owned()),
                });
            }
            Err(e) => {
                return Err(RootError::Examine {
                    path: path.to_owned(),
                    source: e.into(),
                });
            }
        }
    }
    Ok(())
}

fn is_link(root: &OwnedFd, path: &str) -> bool {
    use rustix::fs::{AtFlags, FileType, statat};
    statat(
        root,
        path.trim_start_matches('/'),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
}
