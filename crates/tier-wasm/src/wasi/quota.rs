//! What scratch space a call has left.

use std::path::PathBuf;

use super::guard::Refusal;
use crate::scratch::{self, Contents, MAX_DIRECTORIES, MAX_FILES};

/// Unit of disk space, in bytes: a write takes at least one, wherever in a file it lands.
const BLOCK: u64 = 4096;

/// What scratch space is left. Counts down without looking; looks when the count runs out, since
/// files may have been removed or written over.
pub(crate) struct Quota {
    path: PathBuf,
    disk: u64,
    /// What we made ourselves, which is not the tool's.
    base: Contents,
    bytes_left: u64,
    files_left: u64,
    directories_left: u64,
    /// Bytes that were taken and may not be on the disk yet.
    pending: u64,
}

impl Quota {
    pub(super) fn new(path: PathBuf, disk: u64) -> std::io::Result<Self> {
        let base = scratch::measure(&path)?;
        Ok(Self {
            path,
            disk,
            base,
            bytes_left: disk,
            files_left: MAX_FILES,
            directories_left: MAX_DIRECTORIES,
            pending: 0,
        })
    }

    /// Takes room for a write of `bytes`.
    pub(super) fn take_bytes(&mut self, bytes: u64) -> Result<(), Refusal> {
        // A write that is not aligned touches one block more than its size.
        let blocks = bytes
            .div_ceil(BLOCK)
            .saturating_add(1)
            .saturating_mul(BLOCK);
        if blocks > self.bytes_left {
            self.look_again();
            if bytes > self.bytes_left {
                return Err(Refusal::NoSpace);
            }
        }
        self.bytes_left = self.bytes_left.saturating_sub(blocks);
        Ok(())
    }

    /// Takes room for a write of `bytes` that ends later, with [`Quota::arrived`].
    pub(super) fn take_pending(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.take_bytes(bytes)?;
        self.pending = self.pending.saturating_add(bytes);
        Ok(())
    }

    /// Such writes have ended.
    pub(super) fn arrived(&mut self, bytes: u64) {
        self.pending = self.pending.saturating_sub(bytes);
    }

    pub(super) fn take_file(&mut self) -> Result<(), Refusal> {
        if self.files_left == 0 {
            self.look_again();
        }
        self.files_left = self.files_left.checked_sub(1).ok_or(Refusal::NoSpace)?;
        Ok(())
    }

    pub(super) fn take_directory(&mut self) -> Result<(), Refusal> {
        if self.directories_left == 0 {
            self.look_again();
        }
        self.directories_left = self
            .directories_left
            .checked_sub(1)
            .ok_or(Refusal::NoSpace)?;
        Ok(())
    }

    /// Measures what is left. If that fails, nothing is.
    fn look_again(&mut self) {
        let full = Contents {
            bytes: u64::MAX,
            files: u64::MAX,
            directories: u64::MAX,
        };
        let now = scratch::measure(&self.path).unwrap_or(full);
        let used = |now: u64, base: u64| now.saturating_sub(base);
        self.bytes_left = self
            .disk
            .saturating_sub(used(now.bytes, self.base.bytes))
            .saturating_sub(self.pending);
        self.files_left = MAX_FILES.saturating_sub(used(now.files, self.base.files));
        self.directories_left =
            MAX_DIRECTORIES.saturating_sub(used(now.directories, self.base.directories));
    }
}
