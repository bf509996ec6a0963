//! Carrying a plan out: beneath the directory and nowhere else. Each step is from an open directory,
//! and no link is followed, for the session has chosen all names, and somebody may change the directory
//! meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, mkdirat, openat, readlinkat,
    renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::SyncError;
use super::plan::{Plan, Side};
use super::seen::Kind;
use crate::agent::copy::place::{HostPlace, beneath};

/// Permissions that a file comes with.
const PERMISSIONS: u32 = 0o777;
/// Who may execute a file that was none before: whoever may read it, and the owner, by whom it is told
/// whether it can be executed.
const OWNER_EXECUTES: u32 = 0o100;
const EXECUTE: u32 = 0o111;
const READ: u32 = 0o444;
/// How much of a file is copied at once, in bytes.
const CHUNK: usize = 64 << 10;

pub(super) fn apply(plan: &Plan, session: Side<'_>, host: Side<'_>) -> Result<(), SyncError> {
    let owner = host.0.directory.try_clone().map(File::from);
    let owner = owner.and_then(|top| top.metadata());
    let owner = owner.map_err(SyncError::at(&host.0.shown))?;
    let owner = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    // What is in a directory before the directory.
    for path in plan.remove.iter().rev() {
        let removed = Place::of(host.0, path).and_then(|place| place.remove());
        removed.map_err(SyncError::at(&host.0.shown.join(path)))?;
    }
    for path in &plan.write {
        let Some(entry) = session.1.0.get(path) else {
            continue;
        };
        let written = Place::of(host.0, path).and_then(|place| match entry.kind {
            Kind::Directory => place.directory(owner),
            Kind::Link => {
                let theirs = Place::of(session.0, path)?;
                let target = readlinkat(&theirs.parent, &theirs.name, Vec::new())?;
                place.link(OsStr::from_bytes(target.as_bytes()), owner)
            }
            Kind::File => {
                let theirs = Place::of(session.0, path)?;
                place.file(&theirs, entry.executable, owner)
            }
            // A copy has none.
            Kind::Other => Ok(()),
        });
        written.map_err(SyncError::at(&host.0.shown.join(path)))?;
    }
    Ok(())
}

/// A name in an open directory.
struct Place {
    parent: OwnedFd,
    name: OsString,
}

type Owner = (Uid, Gid);

impl Place {
    fn of(top: &HostPlace, path: &Path) -> io::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = beneath(top, parent).map_err(|error| match error {
            crate::agent::CopyError::Host { source, .. } => source,
            error => io::Error::other(error),
        })?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            parent,
            name: name.to_owned(),
        })
    }

    /// A file beside it that nobody else has.
    fn beside(&self) -> OsString {
        format!(".axocoatl-sync-{}", uuid::Uuid::new_v4().simple()).into()
    }

    fn is_directory(&self) -> bool {
        statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
        })
    }

    /// A directory that is not empty has what this host made since, and stays.
    fn remove(&self) -> io::Result<()> {
        let flags = match self.is_directory() {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        match unlinkat(&self.parent, &self.name, flags) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn directory(&self, (user, group): Owner) -> io::Result<()> {
        if self.is_directory() {
            return Ok(());
        }
        self.remove()?;
        mkdirat(&self.parent, &self.name, Mode::from_raw_mode(0o755))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(
            &self.parent,
            &self.name,
            Some(user),
            Some(group),
            flags,
        )?)
    }

    fn link(&self, target: &OsStr, (user, group): Owner) -> io::Result<()> {
        let beside = self.beside();
        symlinkat(target, &self.parent, &beside)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let owned = chownat(&self.parent, &beside, Some(user), Some(group), flags);
        self.place(&beside, owned.map_err(Into::into))
    }

    fn file(&self, from: &Self, executable: bool, owner: Owner) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut theirs = File::from(openat(&from.parent, &from.name, flags, Mode::empty())?);
        // A file that is there keeps its owner, and its mode but for who may execute it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let before = openat(&self.parent, &self.name, flags, Mode::empty());
        let before = before
            .ok()
            .and_then(|file| File::from(file).metadata().ok());
        let (mode, (user, group)) = match before {
            Some(before) if before.is_file() => (
                before.mode() & PERMISSIONS,
                (Uid::from_raw(before.uid()), Gid::from_raw(before.gid())),
            ),
            _ => (theirs.metadata()?.mode() & PERMISSIONS, owner),
        };
        let mode = match executable {
            true => mode | OWNER_EXECUTES | (EXECUTE & ((mode & READ) >> 2)),
            false => mode & !EXECUTE,
        };
        let beside = self.beside();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fresh = openat(&self.parent, &beside, flags, Mode::from_raw_mode(0o600))?;
        let fresh = File::from(fresh);
        let written = fill(&mut theirs, &fresh).and_then(|()| {
            fchown(fresh.as_fd(), Some(user), Some(group))?;
            Ok(fchmod(fresh.as_fd(), Mode::from_raw_mode(mode))?)
        });
        self.place(&beside, written)
    }

    /// Gives what was made beside it its name.
    fn place(&self, beside: &OsStr, made: io::Result<()>) -> io::Result<()> {
        let placed = made.and_then(|()| {
            if self.is_directory() {
                self.remove()?;
            }
            Ok(renameat(&self.parent, beside, &self.parent, &self.name)?)
        });
        if placed.is_err() {
            let _ = unlinkat(&self.parent, beside, AtFlags::empty());
        }
        placed
    }
}

/// Copies a file, with holes where it has nothing but zeros: with those a small one is as large as it
/// likes.
fn fill(from: &mut File, to: &File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return to.set_len(at),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk[..read].iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk[..read], at)?;
        }
        at += read as u64;
    }
}
