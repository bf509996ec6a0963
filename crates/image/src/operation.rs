//! Work in progress: a directory below `staging/`, locked while its owner lives.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::bounds::STORE_LOCK_WAIT;
use crate::lock::{Hold, lock_path, try_lock, try_lock_path};
use crate::store::Layout;
use crate::{Digest, ImageError, disk};

/// One digest a line: the blobs that the operation needs before a record does.
const HOLDS: &str = "holds";

/// Nobody else changes records or removes anything while this lives.
pub(crate) struct Changing {
    _lock: File,
}

impl Changing {
    pub(crate) fn begin(layout: &Layout) -> Result<Self, ImageError> {
        let doing = "changing the image store";
        let lock = lock_path(&layout.lock(), Hold::Exclusive, STORE_LOCK_WAIT, doing)?;
        Ok(Self { _lock: lock })
    }

    /// The same, unless somebody else is.
    pub(crate) fn try_begin(layout: &Layout) -> Result<Option<Self>, ImageError> {
        let path = layout.lock();
        let lock =
            try_lock_path(&path, Hold::Exclusive).map_err(ImageError::io("locking", &path))?;
        Ok(lock.map(|lock| Self { _lock: lock }))
    }
}

/// A running operation. Its directory is removed when it ends, or by others when we are killed.
pub(crate) struct Operation {
    directory: PathBuf,
    _lock: File,
    next: AtomicU64,
    /// Blobs that were not here before.
    added: Mutex<Vec<Digest>>,
}

impl Operation {
    pub(crate) fn begin(layout: &Layout) -> Result<Self, ImageError> {
        // Whoever removes unlocked directories holds this too, so there is no time between.
        let changing = Changing::begin(layout)?;
        Self::begin_within(layout, &changing)
    }

    pub(crate) fn begin_within(layout: &Layout, _: &Changing) -> Result<Self, ImageError> {
        let directory = layout
            .staging()
            .join(uuid::Uuid::new_v4().simple().to_string());
        disk::private_dir(&directory)?;
        let lock = File::open(&directory).map_err(ImageError::io("opening", &directory))?;
        try_lock(&lock, Hold::Exclusive).map_err(ImageError::io("locking", &directory))?;
        Ok(Self {
            directory,
            _lock: lock,
            next: AtomicU64::new(0),
            added: Mutex::default(),
        })
    }

    /// A path of its own, which nobody else uses.
    pub(crate) fn scratch(&self, what: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{what}-{number}"))
    }

    /// Keeps blobs, those that are there and those to come, from being removed as unreferenced.
    pub(crate) fn hold<'a>(
        &self,
        layout: &Layout,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<(), ImageError> {
        let _changing = Changing::begin(layout)?;
        let path = self.directory.join(HOLDS);
        let mut lines = String::new();
        for digest in digests {
            lines.push_str(digest.as_str());
            lines.push('\n');
        }
        File::options()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(ImageError::io("writing", &path))
    }

    /// Remembers a blob that it is about to add.
    pub(crate) fn adds(&self, digest: &Digest) {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        added.push(digest.clone());
    }

    /// It came to nothing: holds nothing any more, and says which blobs it added.
    pub(crate) fn release(&self, _: &Changing) -> Result<Vec<Digest>, ImageError> {
        disk::remove_file(&self.directory.join(HOLDS))?;
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *added))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Err(error) = disk::remove_tree(&self.directory) {
            tracing::warn!(%error, "left for the next garbage collection");
        }
    }
}

/// What lies in staging: blobs that living operations need, and directories of dead ones.
pub(crate) struct Staging {
    pub(crate) held: HashSet<Digest>,
    pub(crate) dead: Vec<PathBuf>,
}

impl Staging {
    /// Looks, under the store's lock.
    pub(crate) fn look(layout: &Layout, _: &Changing) -> Result<Self, ImageError> {
        let mut staging = Self {
            held: HashSet::new(),
            dead: Vec::new(),
        };
        for name in disk::names(&layout.staging())? {
            let path = layout.staging().join(name);
            match is_dead(&path) {
                Ok(true) => staging.dead.push(path),
                Ok(false) => staging.held.extend(holds(&path)?),
                // Ended since we listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(ImageError::io("looking at", &path)(error)),
            }
        }
        Ok(staging)
    }
}

fn is_dead(path: &Path) -> std::io::Result<bool> {
    try_lock(File::open(path)?, Hold::Shared)
}

fn holds(operation: &Path) -> Result<Vec<Digest>, ImageError> {
    // A line is 72 bytes, and an operation has at most a few images' worth of blobs.
    let bytes = disk::read_bounded(&operation.join(HOLDS), 1 << 20)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| Digest::parse(line).ok())
        .collect())
}
