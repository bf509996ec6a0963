//! Paths beneath a root, resolved by the kernel.

use std::ffi::CString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use axo_guest_proto::files::{Owner, Place};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, mkdirat, openat2};
use rustix::io::{Errno, Result};

/// How often a path is tried that others rename things on (`EAGAIN` of openat2).
const TRIES: usize = 64;

/// A directory that nothing leads out of.
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn open(path: &[u8]) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map(Self)
    }

    /// Opens a path beneath it, never to be a terminal of ours, and never waiting for another end.
    pub(super) fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NOCTTY | OFlags::NONBLOCK;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(&self.0, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    pub(super) fn look(&self, path: &[u8], no_follow: bool) -> Result<OwnedFd> {
        let mut flags = OFlags::PATH;
        flags.set(OFlags::NOFOLLOW, no_follow);
        self.resolve(path, flags, Mode::empty())
    }

    /// The directory that a path's last part is in, and that part.
    pub(super) fn parent(&self, path: &[u8]) -> Result<(OwnedFd, CString)> {
        let (before, name) = split(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.resolve(before, flags, Mode::empty())?, name))
    }

    /// The same, where what is missing of the directory is made.
    pub(super) fn made_parent(
        &self,
        path: &[u8],
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, CString)> {
        let (before, name) = split(path)?;
        Ok((self.make_all(before, mode, owner)?, name))
    }

    /// A directory, made with all before it that are missing.
    pub(super) fn make_all(
        &self,
        path: &[u8],
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let mut here = self.resolve(b"", flags, Mode::empty())?;
        let parts = path.split(|byte| *byte == b'/');
        let mut reached = 0;
        for part in parts {
            let end = reached + part.len();
            if !part.is_empty() && part != b"." {
                let prefix = path.get(..end).unwrap_or(path);
                here = match self.resolve(prefix, flags, Mode::empty()) {
                    Err(Errno::NOENT) if part != b".." => {
                        make_directory(
                            &here,
                            &CString::new(part).map_err(|_| Errno::INVAL)?,
                            mode,
                            owner,
                            true,
                        )?;
                        self.resolve(prefix, flags, Mode::empty())?
                    }
                    result => result?,
                };
            }
            reached = end + 1;
        }
        Ok(here)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a directory with exactly this mode.
pub(super) fn make_directory(
    parent: impl AsFd,
    name: &CString,
    mode: Mode,
    owner: Option<Owner>,
    may_be_there: bool,
) -> Result<()> {
    let parent = parent.as_fd();
    match mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) if may_be_there => return Ok(()),
        result => result?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    give(&made, owner)?;
    fchmod(&made, mode)
}

/// Gives a file to an owner.
pub(super) fn give(file: impl AsFd, owner: Option<Owner>) -> Result<()> {
    match owner {
        Some(Owner { uid, gid }) => {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        }
        None => Ok(()),
    }
}

pub(super) fn root_of(place: &Place) -> Result<Root> {
    Root::open(&place.root)
}

/// A name that nothing has, and that nobody in the sandbox can foretell.
pub(super) fn fresh_name() -> CString {
    let random = RandomState::new().build_hasher().finish();
    CString::new(format!(".axo-{random:016x}")).unwrap_or_default()
}

/// What is before the last part, and the last part, which names something in a directory.
fn split(path: &[u8]) -> Result<(&[u8], CString)> {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let (before, name) = match trimmed.iter().rposition(|byte| *byte == b'/') {
        // Absolute: it leads out of its root, as openat2 says.
        Some(0) => return Err(Errno::XDEV),
        Some(slash) => (&trimmed[..slash], &trimmed[slash + 1..]),
        None => (&b""[..], trimmed),
    };
    match name {
        b".." => Err(Errno::XDEV),
        b"" | b"." => Err(Errno::INVAL),
        name => Ok((before, CString::new(name).map_err(|_| Errno::INVAL)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_path_is_a_name() {
        let name = |path: &str| {
            split(path.as_bytes()).map(|(before, name)| {
                (
                    String::from_utf8(before.to_vec()).unwrap(),
                    name.into_string().unwrap(),
                )
            })
        };
        assert_eq!(name("a").unwrap(), (String::new(), "a".into()));
        assert_eq!(name("a/b/").unwrap(), ("a".into(), "b".into()));
        assert_eq!(name("../a").unwrap(), ("..".into(), "a".into()));
        for (path, why) in [
            ("", Errno::INVAL),
            (".", Errno::INVAL),
            ("a/..", Errno::XDEV),
            ("/a", Errno::XDEV),
            ("a//", Errno::INVAL),
        ] {
            assert_eq!(name(path), Err(why), "{path}");
        }
    }
}
