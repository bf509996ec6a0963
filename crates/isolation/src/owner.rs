//! Directories that belong to a running process, and the reaping of those whose process is gone.
//!
//! An owner holds a lock (`flock`) on `lock` in its directory. The kernel drops the lock when the
//! process ends, however it ends, so a directory whose lock can be taken belongs to nobody.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Name of the lock in an owner's directory.
const LOCK: &str = "lock";

/// How often a new directory is made anew because a reaper was quicker than our lock.
const MAX_TRIES: u32 = 100;

/// A directory that is this process's until the value is dropped, and is removed then.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    _lock: File,
}

/// Why a directory cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another process owns it.
    #[error("{0} belongs to another running process")]
    Held(PathBuf),
    /// It cannot be made or locked.
    #[error("owning {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What reaping found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Directories of dead owners that were removed, or would be.
    pub removed: Vec<PathBuf>,
    /// Directories of living owners.
    pub living: usize,
    /// Directories of dead owners that could not be removed, and why.
    pub failed: Vec<(PathBuf, String)>,
}

impl Owner {
    /// Makes and owns a new directory beneath `owners`.
    ///
    /// # Errors
    /// [`OwnerError::Io`] if it cannot be made.
    pub fn new_beneath(owners: &Path) -> Result<Self, OwnerError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::claim(&owners.join(uuid::Uuid::new_v4().to_string())) {
                // A reaper met the directory before it was locked; the next one has another name.
                Err(OwnerError::Held(_)) if tries < MAX_TRIES => {}
                Err(OwnerError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < MAX_TRIES => {}
                result => return result,
            }
        }
    }

    /// Owns `path`, made if there is none.
    ///
    /// # Errors
    /// [`OwnerError::Held`] if another process, or another part of this one, owns it.
    pub fn claim(path: &Path) -> Result<Self, OwnerError> {
        let io = |source| OwnerError::Io {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io)?;
        let lock = open_lock(path, true).map_err(io)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OwnerError::Held(path.to_owned())),
            Err(source) => return Err(io(source.into())),
        }
        // A reaper may have removed the directory between our opening and locking the file.
        if is_same_file(&lock, &path.join(LOCK)) {
            Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            })
        } else {
            Err(OwnerError::Held(path.to_owned()))
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "own directory not removed; the next start reaps it");
        }
    }
}

/// Removes the directories beneath `owners` whose owner is gone; with `dry_run`, only finds them.
///
/// # Errors
/// If `owners` exists and cannot be listed.
pub fn reap(owners: &Path, dry_run: bool) -> io::Result<Reaped> {
    let mut reaped = Reaped::default();
    let entries = match std::fs::read_dir(owners) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(reaped),
        Err(e) => return Err(naming(owners)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(naming(owners))?;
        // Owners make directories only; what a link leads to is not theirs.
        let kind = entry.file_type().map_err(naming(&entry.path()))?;
        if !kind.is_dir() {
            continue;
        }
        let path = entry.path();
        match reap_one(&path, dry_run) {
            Ok(true) => reaped.removed.push(path),
            Ok(false) => reaped.living += 1,
            // Somebody else reaped it, or it is being made just now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => reaped.failed.push((path, e.to_string())),
        }
    }
    Ok(reaped)
}

/// An error that says where, for people.
fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether `path` had no owner; then it is removed while its lock is held, so that nobody can own
/// it in between.
fn reap_one(path: &Path, dry_run: bool) -> io::Result<bool> {
    let lock = match open_lock(path, !dry_run) {
        // Without a lock it has no owner; only looking does not make one.
        Err(e) if dry_run && e.kind() == io::ErrorKind::NotFound && path.exists() => {
            return Ok(true);
        }
        lock => lock?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    if !dry_run {
        std::fs::remove_dir_all(path)?;
    }
    Ok(true)
}

fn open_lock(directory: &Path, create: bool) -> io::Result<File> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow);
    options.open(directory.join(LOCK))
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_listed_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("owners");
        std::fs::write(&file, "").unwrap();
        let why = reap(&file, true).unwrap_err().to_string();
        assert!(why.starts_with(file.to_str().unwrap()), "{why}");
    }

    #[test]
    fn a_second_owner_of_a_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("o");
        let first = Owner::claim(&path).unwrap();
        assert!(matches!(Owner::claim(&path), Err(OwnerError::Held(_))));
        drop(first);
        assert!(!path.exists());
        assert!(Owner::claim(&path).is_ok());
    }

    #[test]
    fn only_what_dead_owners_left_is_reaped() {
        let home = tempfile::tempdir().unwrap();
        let living = Owner::new_beneath(home.path()).unwrap();
        // What a killed process leaves: its directory, with an unlocked lock file.
        let dead = home.path().join("dead");
        std::fs::create_dir_all(dead.join("calls/x/tmp")).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();

        let found = reap(home.path(), true).unwrap();
        assert_eq!(
            (found.removed.as_slice(), found.living),
            ([dead.clone()].as_slice(), 1)
        );
        assert!(dead.exists(), "a dry run removes nothing");
        assert_eq!(
            reap(home.path(), false).unwrap().removed,
            vec![dead.clone()]
        );
        assert!(!dead.exists() && living.path().exists());
        assert_eq!(
            reap(&home.path().join("absent"), false).unwrap(),
            Reaped::default()
        );
    }

    #[test]
    fn owners_and_reapers_at_once_never_lose_a_living_directory() {
        let home = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let owner = Owner::new_beneath(home.path()).unwrap();
                            std::fs::write(owner.path().join("mine"), "x").unwrap();
                            assert!(owner.path().join("mine").exists());
                        }
                    })
                })
                .collect();
            while makers.iter().any(|maker| !maker.is_finished()) {
                let _ = reap(home.path(), false);
            }
        });
        // An owner and a reaper may each have kept the other from removing the last piece.
        reap(home.path(), false).unwrap();
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
