//! Taking in images from files and directories. What it is, its content says.

mod archive;
mod directory;
mod docker_archive;
mod oci_layout;
mod plain;

use std::path::Path;

use crate::find::{digest_of, kept_name};
use crate::manifest::Descriptor;
use crate::operation::Operation;
use crate::record::{Record, StoredLayer};
use crate::{Digest, Image, ImageConfig, ImageError, Platform, Progress, Reference, Store, blobs};
use archive::{Archive, Kind};

/// One import: what its parts need.
struct Import<'a> {
    store: &'a Store,
    operation: Operation,
    source: &'a Path,
    platform: &'a Platform,
    progress: &'a dyn Progress,
}

/// An image whose blobs are stored, before it has a record.
struct Stored {
    record: Record,
    /// The name that the archive gives it.
    name: Option<Reference>,
}

pub(crate) fn import(
    store: &Store,
    source: &Path,
    name: Option<&Reference>,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let import = Import {
        store,
        operation: Operation::begin(&store.layout)?,
        source,
        platform,
        progress,
    };
    let imported = import.take_in(name);
    if imported.is_err()
        && let Err(error) = store.take_back(&import.operation)
    {
        tracing::warn!(%error, "what a refused import left is kept until the next collection");
    }
    imported
}

impl Import<'_> {
    fn take_in(&self, name: Option<&Reference>) -> Result<Image, ImageError> {
        let metadata =
            std::fs::metadata(self.source).map_err(ImageError::io("opening", self.source))?;
        let stored = if metadata.is_dir() {
            if self.source.join(archive::OCI_LAYOUT).is_file() {
                self.oci_layout(&Archive::directory(self.source)?)?
            } else {
                self.directory()?
            }
        } else if metadata.is_file() {
            match Archive::kind(self.source, self.store.options.max_unpacked_bytes)? {
                Kind::OciLayout => self.oci_layout(&self.unpack_archive()?)?,
                Kind::Docker => self.docker_archive(&self.unpack_archive()?)?,
                Kind::Rootfs => self.rootfs_tar()?,
            }
        } else {
            return Err(self.bad("it is neither a file nor a directory"));
        };

        let name = name.or(stored.name.as_ref());
        if let Some(name) = name
            && let Some(pinned) = digest_of(name)?
            && pinned != stored.record.manifest
            && !stored.record.indexes.contains(&pinned)
        {
            return Err(ImageError::Digest {
                what: self.source.display().to_string(),
                expected: pinned.to_string(),
                actual: stored.record.manifest.to_string(),
                fix: "import the archive of that image, or leave the digest out".to_owned(),
            });
        }
        let reference = name.map(|name| kept_name(name, &stored.record.manifest));
        self.store.commit(&self.operation, stored.record, reference)
    }

    fn bad(&self, problem: &str) -> ImageError {
        ImageError::malformed(
            &self.source.display().to_string(),
            problem,
            "give an OCI layout, a `docker save` archive, or a tar or directory of a root file system",
        )
    }

    /// Reads the whole archive once, keeping its files in staging.
    fn unpack_archive(&self) -> Result<Archive, ImageError> {
        let step = self.progress.begin("reading the archive", None);
        let limit = self.store.options.max_unpacked_bytes;
        Archive::tar(self.source, &self.operation, limit, &*step)
    }

    /// A record of what is stored under `manifest`.
    fn record(
        &self,
        manifest: (Digest, u64),
        config: &Descriptor,
        layers: &[Descriptor],
        parsed: &ImageConfig,
    ) -> Result<Record, ImageError> {
        make_record(
            &self.source.display().to_string(),
            self.platform,
            manifest,
            config,
            layers,
            parsed,
        )
    }

    /// An image of one layer, which nobody has described.
    fn bare(&self, layer: &Descriptor, diff_id: &Digest) -> Result<Stored, ImageError> {
        let layout = &self.store.layout;
        let config = crate::config::generated(diff_id);
        let parsed = crate::parse_config(&config)?;
        let digest = blobs::put(layout, &self.operation, &config)?;
        let config = Descriptor {
            digest,
            size: config.len() as u64,
            media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
        };
        let layers = std::slice::from_ref(layer);
        let manifest = self.put_manifest(&config, layers)?;
        Ok(Stored {
            record: self.record(manifest, &config, layers, &parsed)?,
            name: None,
        })
    }

    /// Writes a manifest for an image that came without one.
    fn put_manifest(
        &self,
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<(Digest, u64), ImageError> {
        let descriptor = |d: &Descriptor| {
            serde_json::json!({
                "mediaType": d.media_type, "digest": d.digest.as_str(), "size": d.size,
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(config),
            "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
        })
        .to_string();
        let digest = blobs::put(&self.store.layout, &self.operation, manifest.as_bytes())?;
        Ok((digest, manifest.len() as u64))
    }
}

/// The record of an image that is for `platform` and whose layers can all be checked.
pub(crate) fn make_record(
    image: &str,
    platform: &Platform,
    manifest: (Digest, u64),
    config: &Descriptor,
    layers: &[Descriptor],
    parsed: &ImageConfig,
) -> Result<Record, ImageError> {
    parsed.check(image, platform, layers.len())?;
    let size = layers
        .iter()
        .map(|layer| layer.size)
        .fold(manifest.1.saturating_add(config.size), u64::saturating_add);
    let layers = layers
        .iter()
        .zip(&parsed.diff_ids)
        .map(|(layer, diff_id)| StoredLayer {
            digest: layer.digest.clone(),
            diff_id: diff_id.clone(),
            size: layer.size,
        })
        .collect();
    Ok(Record::new(manifest.0, config.digest.clone(), layers, size))
}
