//! Where what comes out of a session is before any of it is written.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::SyncError;
use crate::agent::copy::place::{HostPlace, open_directory};
use crate::table::Turn;

/// What comes out of a session is called so in its stage.
pub(super) const TREE: &str = "tree";

/// A place beside a session's record for what comes out of it, which is removed with this. It keeps the
/// turn on the session, and has a name that no other has: whoever uses it owns it.
pub(super) struct Stage {
    beside: PathBuf,
    pub(super) place: HostPlace,
    _turn: Turn,
}

impl Stage {
    pub(super) fn new(beside: PathBuf, turn: Turn) -> Result<Self, SyncError> {
        // Whoever left one had our turn, and is gone.
        match fs::remove_dir_all(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(SyncError::at(&beside)(e)),
            _ => {}
        }
        let path = beside.join(uuid::Uuid::new_v4().simple().to_string());
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        made.map_err(SyncError::at(&path))?;
        // It is ours, and so is the way to it, with the links that it may have.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(CWD, &path, flags, Mode::empty());
        Ok(Self {
            place: HostPlace {
                directory: opened.map_err(|e| SyncError::at(&path)(e.into()))?,
                shown: path,
            },
            beside,
            _turn: turn,
        })
    }

    /// What came out.
    pub(super) fn tree(&self) -> Result<HostPlace, SyncError> {
        Ok(HostPlace {
            directory: open_directory(&self.place, OsStr::new(TREE))?,
            shown: self.place.shown.join(TREE),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.place.shown);
        if let Err(error) = removed.and_then(|()| fs::remove_dir(&self.beside)) {
            tracing::warn!(%error, "what came out of a session is left beside its record");
        }
    }
}
