//! Places of this host that are copied from and to: a path is resolved once, and then each step is from
//! an open directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::CopyError;

/// A directory or file of this host, as an open descriptor and a name in it.
pub(super) struct HostPlace {
    pub(super) directory: OwnedFd,
    pub(super) shown: PathBuf,
}

pub(super) fn host<T>(path: &Path, result: io::Result<T>) -> Result<T, CopyError> {
    result.map_err(|source| CopyError::Host {
        path: path.to_owned(),
        source,
    })
}

/// What is in an open directory of this host.
pub(super) fn names(place: &HostPlace) -> Result<Vec<std::ffi::OsString>, CopyError> {
    let mut names = Vec::new();
    let opened = rustix::fs::Dir::read_from(&place.directory);
    for entry in host(&place.shown, opened.map_err(Into::into))? {
        let entry = host(&place.shown, entry.map_err(Into::into))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// The directory that `path` is to be made in, opened, and its name there.
pub(super) fn split(path: &Path) -> Result<(HostPlace, std::ffi::OsString), CopyError> {
    let name = path
        .file_name()
        .ok_or_else(|| CopyError::NoName(path.to_owned()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, parent, flags, Mode::empty());
    Ok((
        HostPlace {
            directory: host(parent, directory.map_err(Into::into))?,
            shown: parent.to_owned(),
        },
        name.to_owned(),
    ))
}

pub(super) fn open_directory(parent: &HostPlace, name: &OsStr) -> Result<OwnedFd, CopyError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&parent.directory, name, flags, Mode::empty());
    host(&parent.shown.join(name), opened.map_err(Into::into))
}

/// A directory made before, opened such that no link leads away from the top.
pub(super) fn beneath(top: &HostPlace, path: &Path) -> Result<OwnedFd, CopyError> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let opened = rustix::fs::openat2(
        top.directory.as_fd(),
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    );
    host(&top.shown.join(path), opened.map_err(Into::into))
}
