//! Places of this host that are copied from and to: a path is resolved once, and then each step is from
//! an open directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::CopyError;
use crate::directory::Identity;

/// Most links on the way to a place, as the kernel has it (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// A directory or file of this host, as an open descriptor and a name in it.
pub(crate) struct HostPlace {
    pub(crate) directory: OwnedFd,
    pub(crate) shown: PathBuf,
}

pub(crate) fn host<T>(path: &Path, result: io::Result<T>) -> Result<T, CopyError> {
    result.map_err(|source| CopyError::Host {
        path: path.to_owned(),
        source,
    })
}

/// What is in an open directory of this host.
pub(crate) fn names(place: &HostPlace) -> Result<Vec<OsString>, CopyError> {
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

/// A directory, by a path that somebody typed. Links on the way lead on, as everywhere, but for those
/// in a directory that a session can write: those can be anybody's.
pub(super) fn enter(path: &Path, writable: &[Identity]) -> Result<OwnedFd, CopyError> {
    let failed = |error: Errno| CopyError::Host {
        path: path.to_owned(),
        source: error.into(),
    };
    let whole = match path.is_absolute() {
        true => path.to_owned(),
        // In the kernel's words, which have no link in them.
        false => host(Path::new("."), std::env::current_dir())?.join(path),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |at: BorrowedFd<'_>, name: &OsStr| {
        let opened = openat(at, name, flags, Mode::empty())?;
        let mode = fstat(&opened)?.st_mode;
        Ok((opened, FileType::from_raw_mode(mode)))
    };
    let (root, _) = open(CWD, OsStr::new("/")).map_err(failed)?;
    // The directories on the way, and whether a session can write there. The last is where we are.
    let mut way = vec![(root, false)];
    let mut todo = words(&whole);
    let mut links = 0;
    while let Some(word) = todo.pop() {
        if word == ".." {
            // Above the root there is the root.
            way.truncate((way.len() - 1).max(1));
            continue;
        }
        let (here, writes) = way.last().ok_or(Errno::NOENT).map_err(failed)?;
        let (opened, kind) = open(here.as_fd(), &word).map_err(failed)?;
        match kind {
            FileType::Directory => {
                let writes = *writes || writable.iter().any(|one| one.is(&opened));
                way.push((opened, writes));
            }
            FileType::Symlink if *writes => return Err(CopyError::Led(path.to_owned())),
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                let target = readlinkat(&opened, "", Vec::new()).map_err(failed)?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    way.truncate(1);
                }
                todo.extend(words(target));
            }
            _ => return Err(failed(Errno::NOTDIR)),
        }
    }
    let last = way.pop().ok_or(Errno::NOENT).map_err(failed)?;
    Ok(last.0)
}

/// The names of a path, the last first.
fn words(path: &Path) -> Vec<OsString> {
    let word = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    let mut words: Vec<OsString> = path.components().filter_map(word).collect();
    words.reverse();
    words
}

/// The directory that `path` is to be made in, opened, and its name there.
pub(super) fn split(
    path: &Path,
    writable: &[Identity],
) -> Result<(HostPlace, OsString), CopyError> {
    let name = path
        .file_name()
        .ok_or_else(|| CopyError::NoName(path.to_owned()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((
        HostPlace {
            directory: enter(parent, writable)?,
            shown: parent.to_owned(),
        },
        name.to_owned(),
    ))
}

pub(crate) fn open_directory(parent: &HostPlace, name: &OsStr) -> Result<OwnedFd, CopyError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&parent.directory, name, flags, Mode::empty());
    host(&parent.shown.join(name), opened.map_err(Into::into))
}

/// A directory made before, opened such that no link leads away from the top.
pub(crate) fn beneath(top: &HostPlace, path: &Path) -> Result<OwnedFd, CopyError> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_leads_on_but_where_a_session_can_write() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let work = home.join("work");
        for directory in ["work/deep", "elsewhere"] {
            std::fs::create_dir_all(home.join(directory)).unwrap();
        }
        // The session's.
        symlink(home.join("elsewhere"), work.join("out")).unwrap();
        symlink("../../elsewhere", work.join("deep/out")).unwrap();
        // Ours.
        symlink("work", home.join("ours")).unwrap();
        symlink("work/out", home.join("through")).unwrap();
        symlink("around", home.join("around")).unwrap();
        let writable = [Identity::of(&work).unwrap()];
        let is = |path: &str, expected: &str| {
            let found = enter(&home.join(path), &writable).unwrap();
            let found = Identity::of(&home.join(expected)).unwrap().is(&found);
            assert!(found, "{path}");
        };
        is("work", "work");
        is("ours/deep", "work/deep");
        is("work/deep/../deep/.", "work/deep");
        is("work/../elsewhere", "elsewhere");
        for led in [
            "work/out",
            "ours/deep/out",
            "through",
            "work/out/../elsewhere",
            "work/deep/../out",
        ] {
            let error = enter(&home.join(led), &writable).unwrap_err();
            assert!(matches!(error, CopyError::Led(_)), "{led}: {error}");
        }
        assert!(enter(&home.join("through"), &[]).is_ok());
        for bad in ["around", "absent", "absent/../work"] {
            let error = enter(&home.join(bad), &writable).unwrap_err();
            assert!(matches!(error, CopyError::Host { .. }), "{bad}: {error}");
        }
        assert!(enter(Path::new("."), &writable).is_ok());
    }
}
