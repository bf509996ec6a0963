//! Carrying a plan out: beneath the directory and nowhere else. Each step is from an open directory,
//! and no link is followed, for the session has chosen all names, and somebody may change the directory
//! meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown,
    flock, fstat, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::plan::{Plan, Side};
use super::seen::Kind;
use super::{SyncError, partial};
use crate::agent::copy::place::{HostPlace, beneath, names};

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
    for path in &host.1.1 {
        // One that cannot be removed is no worse than before.
        let _ = Place::of(host.0, path).and_then(|place| place.remove_partial(owner));
    }
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

    fn is_directory(&self) -> bool {
        statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
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

    /// What a sync that was ended left by half. Who is at it has it locked, and one that somebody else made
    /// is theirs.
    fn remove_partial(&self, (user, _): Owner) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let stat = match openat(&self.parent, &self.name, flags, Mode::empty()) {
            // A link, which is there for a moment only, and whole.
            Err(Errno::LOOP) => statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)?,
            file => {
                let file = file?;
                flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                fstat(&file)?
            }
        };
        if [geteuid(), user].contains(&Uid::from_raw(stat.st_uid)) {
            unlinkat(&self.parent, &self.name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn directory(&self, owner: Owner) -> io::Result<()> {
        if self.is_directory() {
            return Ok(());
        }
        self.remove()?;
        mkdirat(&self.parent, &self.name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        give_directory(
            openat(&self.parent, &self.name, flags, Mode::empty())?,
            owner,
        )
    }

    fn link(&self, target: &OsStr, owner: Owner) -> io::Result<()> {
        let beside = partial();
        symlinkat(target, &self.parent, &beside)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.parent, &beside, flags, Mode::empty());
        let given = made
            .map_err(Into::into)
            .and_then(|made| give_link(&made, target, owner));
        self.place(&beside, given)
    }

    fn file(&self, from: &Self, executable: bool, owner: Owner) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut theirs = File::from(openat(&from.parent, &from.name, flags, Mode::empty())?);
        // A file that is there keeps its owner, and its mode but for who may execute it.
        let before = statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_file =
            |before: &Stat| FileType::from_raw_mode(before.st_mode) == FileType::RegularFile;
        let (mode, (user, group)) = match before.ok().filter(is_file) {
            Some(before) => (
                before.st_mode & PERMISSIONS,
                (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid)),
            ),
            _ => (theirs.metadata()?.mode() & PERMISSIONS, owner),
        };
        let mode = match executable {
            true => mode | OWNER_EXECUTES | (EXECUTE & ((mode & READ) >> 2)),
            false => mode & !EXECUTE,
        };
        let beside = partial();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fresh = openat(&self.parent, &beside, flags, Mode::from_raw_mode(0o600))?;
        let fresh = File::from(fresh);
        // Whoever removes what others left by half can tell that this is not left. Where nothing can be
        // locked they find so, too.
        let _ = flock(&fresh, FlockOperation::NonBlockingLockExclusive);
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

/// Gives somebody a directory that we have just made, by its descriptor: whoever can write where it is may
/// have put one that is not theirs in its place.
fn give_directory(made: OwnedFd, (user, group): Owner) -> io::Result<()> {
    let stat = fstat(&made)?;
    let place = HostPlace {
        directory: made,
        shown: PathBuf::new(),
    };
    // Some file systems count no names of directories.
    let fresh = stat.st_uid == geteuid().as_raw() && stat.st_nlink <= 2;
    if !fresh || !names(&place).map_err(io::Error::other)?.is_empty() {
        return Err(swapped());
    }
    Ok(fchown(&place.directory, Some(user), Some(group))?)
}

/// The same with a link.
fn give_link(made: &OwnedFd, target: &OsStr, (user, group): Owner) -> io::Result<()> {
    let stat = fstat(made)?;
    let fresh = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
        && stat.st_uid == geteuid().as_raw()
        && stat.st_nlink == 1;
    if !fresh || readlinkat(made, "", Vec::new())?.as_bytes() != target.as_bytes() {
        return Err(swapped());
    }
    let of_itself = AtFlags::EMPTY_PATH;
    Ok(chownat(made, "", Some(user), Some(group), of_itself)?)
}

fn swapped() -> io::Error {
    io::Error::other(
        "another came to its place while it was made: see who else writes there, and try it again",
    )
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use rustix::fs::{CWD, linkat};

    use super::*;

    const ALICE: (u32, u32) = (1000, 1000);

    fn alice() -> Owner {
        (Uid::from_raw(ALICE.0), Gid::from_raw(ALICE.1))
    }

    fn open(path: &Path, flags: OFlags) -> OwnedFd {
        openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty()).unwrap()
    }

    /// Whose a file is, and not what it leads to.
    fn owner(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn regression_only_what_was_just_made_is_given_away() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["fresh", "full", "somebodys"] {
            fs::create_dir(at(name)).unwrap();
            symlink("target", at(&format!("link-{name}"))).unwrap();
        }
        fs::write(at("full/f"), "").unwrap();
        linkat(
            CWD,
            at("link-full"),
            CWD,
            at("link-again"),
            AtFlags::empty(),
        )
        .unwrap();
        for name in ["somebodys", "link-somebodys"] {
            std::os::unix::fs::lchown(at(name), Some(7), Some(7)).unwrap();
        }
        fs::write(at("file"), "").unwrap();
        let give = |name: &str| give_directory(open(&at(name), OFlags::DIRECTORY), alice());
        let target = OsStr::new("target");
        let give_link = |name: &str| give_link(&open(&at(name), OFlags::PATH), target, alice());
        give("fresh").unwrap();
        give_link("link-fresh").unwrap();
        for bad in ["full", "somebodys"] {
            give(bad).unwrap_err();
            assert_ne!(owner(&at(bad)), ALICE.0, "{bad}");
        }
        symlink("other", at("link-other")).unwrap();
        for bad in ["link-full", "link-somebodys", "link-other", "file"] {
            give_link(bad).unwrap_err();
            assert_ne!(owner(&at(bad)), ALICE.0, "{bad}");
        }
        for given in ["fresh", "link-fresh"] {
            assert_eq!(owner(&at(given)), ALICE.0, "{given}");
        }
    }

    #[test]
    fn what_a_sync_left_by_half_is_removed_and_what_is_being_written_is_not() {
        let home = tempfile::tempdir().unwrap();
        let top = HostPlace {
            directory: open(home.path(), OFlags::DIRECTORY),
            shown: home.path().to_owned(),
        };
        let left = |uid: u32| {
            let name = partial();
            fs::write(home.path().join(&name), "half").unwrap();
            chown(home.path().join(&name), Some(uid), Some(uid)).unwrap();
            home.path().join(name)
        };
        let (ours, given, others, written) = (left(0), left(ALICE.0), left(7), left(0));
        let link = home.path().join(partial());
        symlink("target", &link).unwrap();
        let lock = File::open(&written).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        for path in [&ours, &given, &others, &written, &link] {
            let name = Path::new(path.file_name().unwrap());
            let _ = Place::of(&top, name).unwrap().remove_partial(alice());
        }
        for (path, stays) in [
            (ours, false),
            (given, false),
            (others, true),
            (written, true),
            (link, false),
        ] {
            assert_eq!(path.symlink_metadata().is_ok(), stays, "{}", path.display());
        }
    }
}
