//! Locks between processes: `flock` on files and directories beneath `microvm/`.
//!
//! A lock belongs to an open file, so it ends with its last holder, however that ends.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use rustix::io::Errno;

use crate::files::FileError;

/// How often a wanted lock is tried.
const POLL: Duration = Duration::from_millis(20);

/// How to hold a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    Shared,
    Exclusive,
}

/// Tries to lock an open file. `false`: somebody else holds it.
pub(crate) fn try_lock(file: impl AsFd, hold: Hold) -> Result<bool, Errno> {
    let operation = match hold {
        Hold::Shared => FlockOperation::NonBlockingLockShared,
        Hold::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens something that is there, and locks it. `None`: it is not there, or is just being removed
/// or made by somebody else. A lock counts only while what it is on still has the name.
pub(crate) fn take(path: &Path, hold: Hold) -> Result<Option<File>, FileError> {
    let failed = || FileError::at("locking", path);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed()(error)),
    };
    if !try_lock(&file, hold).map_err(failed())? || !has_name(&file, path).map_err(failed())? {
        return Ok(None);
    }
    Ok(Some(file))
}

/// Locks the lock file `path`, made if there is none, waiting at most `wait` for whoever is `doing`
/// something under it.
pub(crate) fn wait(path: &Path, doing: &str, wait: Duration) -> Result<File, LockError> {
    let failed = || FileError::at("locking", path);
    let start = Instant::now();
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed())?);
        let locked = try_lock(&file, Hold::Exclusive).map_err(failed())?;
        // Its holder may remove the file, so a lock counts only while the file has the name.
        if locked && has_name(&file, path).map_err(failed())? {
            return Ok(file);
        }
        if !locked && start.elapsed() >= wait {
            return Err(LockError::Busy {
                doing: doing.to_owned(),
                seconds: wait.as_secs(),
            });
        }
        if !locked {
            std::thread::sleep(POLL);
        }
    }
}

fn has_name(file: &File, path: &Path) -> Result<bool, Errno> {
    let ours = fstat(file)?;
    match stat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has held it for long.
    #[error("another process has been {doing} for {seconds} s; wait for it, or end it if it hangs")]
    Busy {
        /// What it is doing.
        doing: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The host failed.
    #[error(transparent)]
    File(#[from] FileError),
}
