//! The store and where its things are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bounds::{DEFAULT_MAX_FILES, DEFAULT_MAX_UNPACKED_BYTES};
use crate::operation::{Changing, Operation, Staging};
use crate::record::{Record, Records};
use crate::{Image, ImageError, Platform, Progress, PullOptions, Reference, disk};

/// What an image may unpack to.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of all layers of an image.
    pub max_unpacked_bytes: u64,
    /// Entries in all layers of an image.
    pub max_files: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            max_unpacked_bytes: DEFAULT_MAX_UNPACKED_BYTES,
            max_files: DEFAULT_MAX_FILES,
        }
    }
}

/// Images on disk, shared by every process that opens the same directory. A clone is the same
/// store. All but [`Store::pull`] block on the disk: call them where blocking is allowed.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
}

/// Where what is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: Arc<Path>,
}

impl Layout {
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    pub(crate) fn blob(&self, digest: &crate::Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn rootfses(&self) -> PathBuf {
        self.root.join("rootfs")
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

impl Store {
    /// Opens the store in `root`, making it where it is absent, and removes what processes that
    /// died left in staging.
    ///
    /// # Errors
    /// The directory cannot be made, or is another user's.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(root: &Path, options: StoreOptions) -> Result<Self, ImageError> {
        disk::private_dir(root)?;
        let root = std::fs::canonicalize(root).map_err(ImageError::io("opening", root))?;
        let layout = Layout { root: root.into() };
        for directory in [
            layout.images(),
            layout.blobs(),
            layout.partials(),
            layout.rootfses(),
            layout.staging(),
        ] {
            disk::private_dir(&directory)?;
        }
        let store = Self { layout, options };
        store.reap()?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// Fetches an image from its registry. What is here already, or was fetched in part by a pull
    /// that broke, is not fetched again.
    ///
    /// # Errors
    /// The registry, the network, the credentials, the image, or the disk.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        crate::registry::pull(self, reference, options, progress).await
    }

    /// Takes in an image from a file or a directory: an OCI layout or a `docker save` archive,
    /// or a bare root file system, which becomes an image of one layer for this architecture.
    /// Tars may be compressed with gzip or zstd. The content decides which it is. What is refused
    /// leaves nothing.
    ///
    /// # Errors
    /// `source` is none of these, is damaged, for other machines, or past a limit.
    pub fn import(
        &self,
        source: &Path,
        name: Option<&Reference>,
        progress: &dyn Progress,
    ) -> Result<Image, ImageError> {
        crate::import::import(self, source, name, &Platform::host(), progress)
    }

    /// Whether [`Store::rootfs`] of `image` is here already, so that its next use need not wait.
    #[must_use]
    pub fn is_unpacked(&self, image: &Image) -> bool {
        // It gets its name when it is complete.
        self.layout.rootfs(&image.rootfs_key()).is_dir()
    }

    /// Every image, by digest.
    ///
    /// # Errors
    /// The disk. An image whose record is damaged is left out with a warning.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let records = Records::load(&self.layout.images())?.readable();
        let mut images = Vec::with_capacity(records.len());
        for record in records {
            match Image::load(&self.layout, record) {
                Ok(image) => images.push(image),
                Err(error) => tracing::warn!(%error, "an image is left out"),
            }
        }
        Ok(images)
    }

    /// Writes the record of an image whose blobs are all here, and gives it `reference`.
    pub(crate) fn commit(
        &self,
        operation: &Operation,
        mut record: Record,
        reference: Option<String>,
    ) -> Result<Image, ImageError> {
        let _changing = Changing::begin(&self.layout)?;
        let images = self.layout.images();
        let known = Records::load(&images)?.readable();
        for other in known {
            if other.manifest == record.manifest {
                for reference in other.references {
                    record.add_reference(reference);
                }
                for index in other.indexes {
                    if !record.indexes.contains(&index) {
                        record.indexes.push(index);
                    }
                }
            } else if let Some(reference) = &reference {
                release(other, reference, operation, &images)?;
            }
        }
        if let Some(reference) = reference {
            record.add_reference(reference);
        }
        record.save(&images, operation)?;
        Image::load(&self.layout, record)
    }

    /// Removes what dead processes left in staging, unless the store is busy.
    fn reap(&self) -> Result<(), ImageError> {
        let Some(changing) = Changing::try_begin(&self.layout)? else {
            return Ok(());
        };
        let dead = Staging::look(&self.layout, &changing)?.dead;
        drop(changing);
        for path in dead {
            // Another process may be removing it as well.
            if let Err(error) = disk::remove_tree(&path) {
                tracing::warn!(%error, "left for the next garbage collection");
            }
        }
        Ok(())
    }
}

/// A name moves to another image. The one that had it keeps it with its digest instead, so that
/// whoever pinned that still finds it.
fn release(
    mut other: Record,
    reference: &str,
    operation: &Operation,
    images: &Path,
) -> Result<(), ImageError> {
    let Some(place) = other.references.iter().position(|r| r == reference) else {
        return Ok(());
    };
    other.references.remove(place);
    if let Ok(parsed) = reference.parse::<Reference>() {
        let pinned = crate::find::pinned(&parsed, &other.manifest);
        other.add_reference(pinned);
    }
    other.save(images, operation)
}
