//! Directory trees as disk images: squashfs, read-only, made once and kept by their digest.

pub(crate) mod tree;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache;
use crate::digest::checked;
use crate::files::{self, FileError};
use crate::lock::LockError;
use crate::places::Places;

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// It is no name for a disk.
    #[error("{0:?} is no SHA-256 digest, by which a disk is kept")]
    Digest(String),
    /// The tree cannot be a disk.
    #[error("{} in its root file system cannot be on a disk: {problem}", path.display())]
    Tree {
        /// Where, from the root of the tree.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Past one of the bounds.
    #[error("its root file system, which becomes a disk, has more than {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Its unit.
        unit: &'static str,
    },
    /// It changed while it was read.
    #[error("its root file system changed while a disk of it was made")]
    Changed,
    /// Another process makes it, or removes it.
    #[error(transparent)]
    Busy(#[from] LockError),
    /// The host failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The disk of the tree beneath the directory `tree`, kept in `data`, the engine's data directory,
/// under `digest`, which is to be that of the tree; made if this is its first use, once however many
/// ask at the same time. While the file, or a duplicate of it, is open, the disk keeps its name.
///
/// It has directories, files, symlinks and FIFOs, with owners, permissions and times of modification.
/// Set-user-ID and set-group-ID bits, extended attributes, sockets and devices are left out, and a file
/// of several names becomes as many files.
///
/// It blocks, for seconds if it has to be made.
///
/// # Errors
/// [`DiskError`].
pub fn disk_of(data: &Path, digest: &str, tree: BorrowedFd<'_>) -> Result<File, DiskError> {
    packed(data, digest, tree, |_| Ok(()))
}

/// The disk of a tree that may change at any time, and its digest, for which all of it is read.
///
/// # Errors
/// [`DiskError`], and [`DiskError::Changed`] if it does change while it is packed.
pub(crate) fn disk_of_changing(
    data: &Path,
    tree: BorrowedFd<'_>,
) -> Result<(String, File), DiskError> {
    let digest = crate::tree::digest(tree)?;
    // What was packed when it was another already must not get the name.
    let still = |packed: &str| still(packed, &crate::tree::digest(tree)?);
    let disk = packed(data, &digest, tree, still)?;
    Ok((digest, disk))
}

/// A disk as machines have it mounted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// Its file's name.
    pub(crate) name: String,
    /// [`files::identity`].
    identity: String,
}

impl Mounted {
    pub(crate) fn of(digest: &str, disk: &File) -> io::Result<Self> {
        Ok(Self {
            name: name(checked(digest).unwrap_or(digest)),
            identity: files::identity(disk)?,
        })
    }

    /// Whether it is there still, and not only another of its name.
    pub(crate) fn is_there(&self, places: &Places) -> bool {
        File::open(places.disks().join(&self.name))
            .and_then(|disk| files::identity(&disk))
            .is_ok_and(|identity| identity == self.identity)
    }
}

/// Makes the disk if it is not there; it gets its name if `check` then says so.
fn packed(
    data: &Path,
    digest: &str,
    tree: BorrowedFd<'_>,
    check: impl Fn(&str) -> Result<(), DiskError>,
) -> Result<File, DiskError> {
    let digest =
        checked(digest).ok_or_else(|| DiskError::Digest(digest.chars().take(100).collect()))?;
    cache::open_or_make(&Places::of(data).disks(), &name(digest), |aside| {
        tree::pack(tree, aside, &tree::LIMITS)?;
        check(digest)
    })
}

/// Whether a tree is what it was.
fn still(digest: &str, now: &str) -> Result<(), DiskError> {
    match checked(now) == Some(digest) {
        true => Ok(()),
        false => Err(DiskError::Changed),
    }
}

pub(crate) fn name(digest: &str) -> String {
    format!("{digest}{ENDING}")
}

/// The ending of a disk's name.
pub(crate) const ENDING: &str = ".squashfs";

#[cfg(test)]
mod tests;
