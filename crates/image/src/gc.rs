//! Collecting what no image needs.

use std::path::{Path, PathBuf};

use crate::lock::{Hold, try_lock_path};
use crate::operation::{Changing, Operation, Staging};
use crate::record::Records;
use crate::remove::{Needed, Taken};
use crate::{Digest, ImageError, Store, disk};

/// What kind of garbage something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GarbageKind {
    /// A blob of no image.
    Blob,
    /// Part of a download that broke.
    Partial,
    /// An unpacked root file system of no image.
    Rootfs,
    /// What a process left that died.
    Staging,
}

/// One piece of garbage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GarbageItem {
    /// What it is.
    pub kind: GarbageKind,
    /// Where it is, or was.
    pub path: PathBuf,
    /// Bytes of disk, about.
    pub bytes: u64,
}

/// What [`Store::gc`] found, and removed unless it was told not to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Garbage {
    /// The pieces.
    pub items: Vec<GarbageItem>,
}

impl Garbage {
    /// Bytes of disk of all of it, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    fn add(&mut self, kind: GarbageKind, path: &Path) {
        self.items.push(GarbageItem {
            kind,
            path: path.to_owned(),
            bytes: disk::disk_usage(path),
        });
    }
}

impl Store {
    /// Removes what no image and no living process needs: blobs, parts of downloads, unpacked
    /// root file systems, and what processes that died left. `dry_run` only looks.
    ///
    /// # Errors
    /// The disk, or a record that cannot be read: what it needs is not known.
    pub fn gc(&self, dry_run: bool) -> Result<Garbage, ImageError> {
        let changing = Changing::begin(&self.layout)?;
        let staging = Staging::look(&self.layout, &changing)?;
        let operation = Operation::begin_within(&self.layout, &changing)?;
        let records = Records::load(&self.layout.images())?.all()?;
        let needed = Needed::new(&records, staging.held);
        let mut garbage = Garbage::default();

        for path in &staging.dead {
            garbage.add(GarbageKind::Staging, path);
        }
        self.collect_blobs(&needed, dry_run, &mut garbage)?;
        self.collect_partials(dry_run, &mut garbage)?;
        self.collect_rootfses(&needed, &operation, dry_run, &mut garbage)?;
        // Trees take long; nobody needs to wait for them.
        drop(changing);
        if !dry_run {
            for path in &staging.dead {
                disk::remove_tree(path)?;
            }
        }
        Ok(garbage)
    }

    fn collect_blobs(
        &self,
        needed: &Needed,
        dry_run: bool,
        garbage: &mut Garbage,
    ) -> Result<(), ImageError> {
        for name in disk::names(&self.layout.blobs())? {
            let digest = Digest::parse(&format!("sha256:{}", name.to_string_lossy()));
            // Whatever has no digest for a name is nobody's.
            if digest.is_ok_and(|digest| needed.blobs.contains(&digest)) {
                continue;
            }
            let path = self.layout.blobs().join(name);
            garbage.add(GarbageKind::Blob, &path);
            if !dry_run {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn collect_partials(&self, dry_run: bool, garbage: &mut Garbage) -> Result<(), ImageError> {
        for name in disk::names(&self.layout.partials())? {
            let path = self.layout.partials().join(name);
            // Locked: somebody is downloading it.
            let Some(_lock) =
                try_lock_path(&path, Hold::Exclusive).map_err(ImageError::io("locking", &path))?
            else {
                continue;
            };
            garbage.add(GarbageKind::Partial, &path);
            if !dry_run {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn collect_rootfses(
        &self,
        needed: &Needed,
        operation: &Operation,
        dry_run: bool,
        garbage: &mut Garbage,
    ) -> Result<(), ImageError> {
        for name in disk::names(&self.layout.rootfses())? {
            let name = name.to_string_lossy();
            let hex = name.strip_suffix(".lock").unwrap_or(&name);
            let Ok(key) = Digest::parse(&format!("sha256:{hex}")) else {
                continue;
            };
            if needed.rootfs.contains(&key) || self.pinned_by(&key)?.is_some() {
                continue;
            }
            let path = self.layout.rootfs(&key);
            if dry_run {
                if !name.ends_with(".lock") {
                    garbage.add(GarbageKind::Rootfs, &path);
                }
                continue;
            }
            let bytes = disk::disk_usage(&path);
            if let Taken::Gone(_) = self.take_rootfs(&key, operation)? {
                garbage.items.push(GarbageItem {
                    kind: GarbageKind::Rootfs,
                    path,
                    bytes,
                });
            }
        }
        Ok(())
    }
}
