//! An image in the store.

use crate::bounds::MAX_CONFIG_BYTES;
use crate::record::Record;
use crate::store::Layout;
use crate::{Digest, ImageConfig, ImageError, blobs, parse_config};

/// An image in the store: complete, and checked.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Its names: `registry/name:tag`, or `registry/name@sha256:…`. May be empty.
    pub references: Vec<String>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Bytes of its blobs, some of which other images may share.
    pub size: u64,
    /// When it was built, RFC 3339, as the image says.
    pub created: Option<String>,
    pub(crate) record: Record,
}

impl Image {
    pub(crate) fn load(layout: &Layout, record: Record) -> Result<Self, ImageError> {
        let config = parse_config(&blobs::read(layout, &record.config, MAX_CONFIG_BYTES)?)?;
        Ok(Self {
            digest: record.manifest.to_string(),
            references: record.references.clone(),
            created: config.created.clone(),
            config,
            size: record.size,
            record,
        })
    }

    /// What its root file system is: images with the same layers have the same. A key for
    /// whatever is made from the root file system and kept.
    #[must_use]
    pub fn rootfs_key(&self) -> Digest {
        self.record.rootfs_key()
    }
}
