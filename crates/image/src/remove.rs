//! Removing images.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::find::resolve;
use crate::lock::{Hold, try_lock_path};
use crate::operation::{Changing, Operation, Staging};
use crate::record::{Record, Records};
use crate::{Digest, ImageError, Store, disk};

/// What [`Store::remove`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    /// Digest of the image.
    pub digest: String,
    /// The references that are gone.
    pub references: Vec<String>,
    /// Whether the image went with them.
    pub image: bool,
    /// Bytes of disk that became free, about.
    pub bytes: u64,
}

impl Store {
    /// Removes a reference, and with the last one the image. Named by its digest, the image goes
    /// with all its references.
    ///
    /// # Errors
    /// [`ImageError::InUse`] while somebody holds a [`crate::Rootfs`] of the image,
    /// [`ImageError::Pinned`] while something is pinned to one, and
    /// [`ImageError::NotFound`].
    pub fn remove(&self, reference: &str) -> Result<Removed, ImageError> {
        let changing = Changing::begin(&self.layout)?;
        let operation = Operation::begin_within(&self.layout, &changing)?;
        let mut records = Records::load(&self.layout.images())?.all()?;
        let (record, name) = resolve(&records, reference)?;
        let mut record = record.clone();

        if let Some(name) = name
            && record.references.len() > 1
        {
            record.references.retain(|other| *other != name);
            record.save(&self.layout.images(), &operation)?;
            return Ok(Removed {
                digest: record.manifest.to_string(),
                references: vec![name],
                image: false,
                bytes: 0,
            });
        }

        records.retain(|other| other.manifest != record.manifest);
        let needed = Needed::new(&records, Staging::look(&self.layout, &changing)?.held);
        // First, because it is what may be refused.
        let mut bytes = 0;
        let key = record.rootfs_key();
        if !needed.rootfs.contains(&key) {
            match self.take_rootfs(&key, &operation)? {
                Taken::Gone(path) => bytes += disk::disk_usage(&path),
                Taken::Absent => {}
                Taken::InUse => {
                    return Err(ImageError::InUse {
                        image: reference.to_owned(),
                    });
                }
                Taken::Pinned(by) => {
                    return Err(ImageError::Pinned {
                        image: reference.to_owned(),
                        by,
                    });
                }
            }
        }
        // Then the record: from here on the image is gone, and what follows is what a garbage
        // collection would do.
        let path = self
            .layout
            .images()
            .join(format!("{}.json", record.manifest.hex()));
        disk::remove_file(&path)?;
        for digest in record
            .blobs()
            .filter(|digest| !needed.blobs.contains(*digest))
        {
            let path = self.layout.blob(digest);
            bytes += disk::disk_usage(&path);
            disk::remove_file(&path)?;
        }
        // Others need not wait until the files are gone; the operation's end removes them.
        drop(changing);
        drop(operation);
        Ok(Removed {
            digest: record.manifest.to_string(),
            references: record.references,
            image: true,
            bytes,
        })
    }

    /// Removes the blobs that `operation` added and that neither an image nor another operation
    /// needs. What was here before it stays, whoever's it is.
    pub(crate) fn take_back(&self, operation: &Operation) -> Result<(), ImageError> {
        let changing = Changing::begin(&self.layout)?;
        let added = operation.release(&changing)?;
        let records = Records::load(&self.layout.images())?.all()?;
        let needed = Needed::new(&records, Staging::look(&self.layout, &changing)?.held);
        for digest in added
            .iter()
            .filter(|digest| !needed.blobs.contains(*digest))
        {
            disk::remove_file(&self.layout.blob(digest))?;
        }
        Ok(())
    }

    /// Moves a root file system that nobody uses out of the way, into `operation`.
    pub(crate) fn take_rootfs(
        &self,
        key: &Digest,
        operation: &Operation,
    ) -> Result<Taken, ImageError> {
        let lock = self.layout.rootfs_lock(key);
        let path = self.layout.rootfs(key);
        if !lock.exists() && !path.exists() {
            return Ok(Taken::Absent);
        }
        let Some(_lock) =
            try_lock_path(&lock, Hold::Exclusive).map_err(ImageError::io("locking", &lock))?
        else {
            return Ok(Taken::InUse);
        };
        if let Some(by) = self.pinned_by(key)? {
            return Ok(Taken::Pinned(by));
        }
        let taken = if path.exists() {
            let trash = operation.scratch("trash");
            disk::rename(&path, &trash)?;
            Taken::Gone(trash)
        } else {
            Taken::Absent
        };
        disk::remove_file(&lock)?;
        Ok(taken)
    }
}

/// What became of a root file system.
pub(crate) enum Taken {
    Gone(PathBuf),
    Absent,
    InUse,
    /// By what.
    Pinned(String),
}

/// What must stay.
pub(crate) struct Needed {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) rootfs: HashSet<Digest>,
}

impl Needed {
    pub(crate) fn new(records: &[Record], held: HashSet<Digest>) -> Self {
        let mut blobs = held;
        blobs.extend(records.iter().flat_map(Record::blobs).cloned());
        Self {
            blobs,
            rootfs: records.iter().map(Record::rootfs_key).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs;

    #[test]
    fn what_another_operation_needs_is_not_taken_back() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let begin = || Operation::begin(&store.layout).unwrap();
        let (failed, other) = (begin(), begin());
        let put = |bytes| blobs::put(&store.layout, &failed, bytes).unwrap();
        let [alone, held] = [put(b"alone"), put(b"held")];
        other.hold(&store.layout, [&held]).unwrap();
        store.take_back(&failed).unwrap();
        assert!(!store.layout.blob(&alone).exists());
        assert!(store.layout.blob(&held).exists());
    }
}
