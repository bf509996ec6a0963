//! What is kept for later calls, and removing all of the tier's files.

use std::path::Path;

use crate::files::{self, FileError};
use crate::gc::{self, CHANGE_WAIT};
use crate::lock::{self, LockError};
use crate::places::{ASIDE, Places};

/// Files of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineFiles {
    /// What they are: `disks`, `snapshots`.
    pub what: &'static str,
    /// How many.
    pub count: usize,
    /// How much they take together, in bytes.
    pub bytes: u64,
}

/// What is kept in `data`, the engine's data directory.
///
/// # Errors
/// If it cannot be looked at.
pub fn kept(data: &Path) -> Result<Vec<MachineFiles>, FileError> {
    let places = Places::of(data);
    [("disks", places.disks()), ("snapshots", places.snapshots())]
        .into_iter()
        .map(|(what, directory)| {
            let mut found = MachineFiles {
                what,
                count: 0,
                bytes: 0,
            };
            for name in files::names(&directory)? {
                let text = name.to_string_lossy();
                if !text.starts_with(ASIDE) && !text.ends_with(crate::cache::LOCK) {
                    let path = directory.join(&name);
                    found.count += 1;
                    found.bytes += gc::size(&path).map_err(FileError::at("looking at", &path))?;
                }
            }
            Ok(found)
        })
        .collect()
}

/// Removes everything of the tier in `data`, the engine's data directory, and answers how many bytes
/// that were. Machines that run go on with what they have open.
///
/// # Errors
/// The host failed, or another process changes the same for long.
pub fn remove(data: &Path) -> Result<u64, LockError> {
    let root = Places::of(data).root().to_owned();
    if !root.exists() {
        return Ok(0);
    }
    let lock = Places::of(data).lock();
    let _changing = lock::wait(&lock, "changing tier microvm's files", CHANGE_WAIT)?;
    let bytes = gc::size(&root).map_err(FileError::at("looking at", &root))?;
    files::remove(&root)?;
    Ok(bytes)
}
