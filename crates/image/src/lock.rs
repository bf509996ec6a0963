//! Locks between processes: `flock` on files and directories of the store.
//!
//! A lock belongs to an open file, so it ends with its holder, however that ends.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use rustix::io::Errno;

use crate::ImageError;
use crate::bounds::LOCK_POLL;

/// How to hold a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    Shared,
    Exclusive,
}

/// Tries to lock an open file. `false`: somebody else holds it.
pub(crate) fn try_lock(file: impl AsFd, hold: Hold) -> io::Result<bool> {
    let operation = match hold {
        Hold::Shared => FlockOperation::NonBlockingLockShared,
        Hold::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens or makes the lock file `path` and tries to lock it. The holder of an exclusive lock may
/// remove the file, so a lock counts only while its file still has the name.
pub(crate) fn try_lock_path(path: &Path, hold: Hold) -> io::Result<Option<File>> {
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
        if !try_lock(&file, hold)? {
            return Ok(None);
        }
        let ours = fstat(&file)?;
        match stat(path) {
            Ok(named) if named.st_ino == ours.st_ino && named.st_dev == ours.st_dev => {
                return Ok(Some(file));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Locks `path`, waiting at most `wait` for whoever is `doing` something under it.
pub(crate) fn lock_path(
    path: &Path,
    hold: Hold,
    wait: Duration,
    doing: &str,
) -> Result<File, ImageError> {
    let start = Instant::now();
    loop {
        match try_lock_path(path, hold).map_err(ImageError::io("locking", path))? {
            Some(file) => return Ok(file),
            None if start.elapsed() >= wait => {
                return Err(ImageError::Busy {
                    doing: doing.to_owned(),
                    seconds: wait.as_secs(),
                });
            }
            None => std::thread::sleep(LOCK_POLL),
        }
    }
}
