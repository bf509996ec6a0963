//! Unpacked root file systems, and leases on them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::bounds::{LOCK_POLL, UNPACK_WAIT};
use crate::lock::{Hold, try_lock_path};
use crate::operation::Operation;
use crate::store::Layout;
use crate::unpack::{self, Limits};
use crate::{Digest, Image, ImageError, Progress, Store, disk};

/// An unpacked root file system. While it lives, nobody removes the files. They are for reading:
/// others use them too.
#[derive(Debug)]
pub struct Rootfs {
    path: PathBuf,
    pub(crate) key: Digest,
    _lease: File,
}

impl Rootfs {
    /// Its root directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Layout {
    pub(crate) fn rootfs(&self, key: &Digest) -> PathBuf {
        self.rootfses().join(key.hex())
    }

    pub(crate) fn rootfs_lock(&self, key: &Digest) -> PathBuf {
        self.rootfses().join(format!("{}.lock", key.hex()))
    }
}

impl Store {
    /// The root file system of `image`, unpacked if this is its first use: once, however many
    /// processes ask at the same time. Whoever else asks waits.
    ///
    /// As root, files belong to whom the image says. Otherwise they are ours, and "others" may do
    /// what their owner may, because tools run under another identity and only we can enter the
    /// store. Set-user-ID bits and extended attributes are never kept.
    ///
    /// # Errors
    /// A layer is damaged or holds what is never unpacked, a limit is passed, or the disk failed.
    pub fn rootfs(&self, image: &Image, progress: &dyn Progress) -> Result<Rootfs, ImageError> {
        let key = image.record.rootfs_key();
        let path = self.layout.rootfs(&key);
        let start = Instant::now();
        loop {
            // Shared first: the common case is that it is there.
            if let Some(lease) = self.lock_rootfs(&key, Hold::Shared)?
                && path.is_dir()
            {
                return Ok(Rootfs {
                    path,
                    key,
                    _lease: lease,
                });
            }
            match self.lock_rootfs(&key, Hold::Exclusive)? {
                // Whoever had it before us may have finished; then this is for nothing.
                Some(_unpacking) if path.is_dir() => {}
                Some(_unpacking) => self.unpack(image, &path, progress)?,
                None if start.elapsed() >= UNPACK_WAIT => {
                    return Err(ImageError::Busy {
                        doing: format!("unpacking {}", image.digest),
                        seconds: UNPACK_WAIT.as_secs(),
                    });
                }
                None => std::thread::sleep(LOCK_POLL),
            }
        }
    }

    fn lock_rootfs(&self, key: &Digest, hold: Hold) -> Result<Option<File>, ImageError> {
        let path = self.layout.rootfs_lock(key);
        try_lock_path(&path, hold).map_err(ImageError::io("locking", &path))
    }

    /// Under the exclusive lock of its root file system.
    fn unpack(
        &self,
        image: &Image,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let operation = Operation::begin(&self.layout)?;
        operation.hold(&self.layout, image.record.blobs())?;
        let staged = operation.scratch("rootfs");
        let limits = Limits {
            bytes: self.options.max_unpacked_bytes,
            files: self.options.max_files,
        };
        unpack::image(&self.layout, &image.record, &staged, limits, progress)?;
        disk::rename(&staged, path)
    }
}
