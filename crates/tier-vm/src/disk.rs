//! Directory trees as disk images: squashfs, read-only, made once and kept by their digest.

mod tree;

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

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
    #[error("{} in the tree for disk {digest}: {problem}", path.display())]
    Tree {
        /// Of the disk.
        digest: String,
        /// Where, from the root of the tree.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Past one of the bounds.
    #[error("the tree for disk {digest} has more than {limit} {unit}; take a smaller image")]
    TooLarge {
        /// Of the disk.
        digest: String,
        /// The limit.
        limit: u64,
        /// Its unit.
        unit: &'static str,
    },
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
    let digest =
        checked(digest).ok_or_else(|| DiskError::Digest(digest.chars().take(100).collect()))?;
    cache::open_or_make(&Places::of(data).disks(), &name(digest), |aside| {
        tree::pack(digest, tree, aside, &tree::LIMITS)
    })
}

/// Removes a disk that is not what its name says. Whoever has it open keeps it.
pub(crate) fn forget(data: &Path, digest: &str) -> Result<(), FileError> {
    match checked(digest) {
        Some(digest) => files::remove(&Places::of(data).disks().join(name(digest))),
        None => Ok(()),
    }
}

pub(crate) fn name(digest: &str) -> String {
    format!("{digest}{ENDING}")
}

/// The ending of a disk's name.
pub(crate) const ENDING: &str = ".squashfs";

#[cfg(test)]
mod tests;
