//! OCI layouts: `oci-layout`, `index.json` and `blobs/`.

use super::archive::Archive;
use super::{Import, Stored};
use crate::bounds::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use crate::manifest::{Descriptor, choose};
use crate::{ImageError, Manifest, blobs, parse_config, parse_manifest};

/// Indexes that lead to indexes: some builders write two.
const MAX_INDEXES: usize = 3;

impl Import<'_> {
    pub(super) fn oci_layout(&self, archive: &Archive) -> Result<Stored, ImageError> {
        let shown = self.source.display().to_string();
        let index = archive
            .read("index.json", MAX_MANIFEST_BYTES)?
            .ok_or_else(|| self.bad("an OCI layout without index.json"))?;
        let mut manifest = parse_manifest(&index)?;
        let mut indexes = Vec::new();
        for _ in 0..MAX_INDEXES {
            let Manifest::Index(entries) = &manifest else {
                break;
            };
            let chosen = match entries.as_slice() {
                // Which of them is read from what it leads to.
                [(only, _)] => only,
                _ => choose(entries, self.platform, &shown)?,
            };
            let bytes = self.small(archive, chosen, MAX_MANIFEST_BYTES)?;
            let next = parse_manifest(&bytes)?;
            let digest = blobs::put(&self.store.layout, &self.operation, &bytes)?;
            if let Manifest::Image { config, layers } = &next {
                let mut record =
                    self.layout_image(archive, (digest, bytes.len() as u64), config, layers)?;
                record.indexes = indexes;
                return Ok(Stored { record, name: None });
            }
            indexes.push(digest);
            manifest = next;
        }
        Err(self.bad("an OCI layout whose index leads to no image"))
    }

    fn layout_image(
        &self,
        archive: &Archive,
        manifest: (crate::Digest, u64),
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<crate::record::Record, ImageError> {
        let bytes = self.small(archive, config, MAX_CONFIG_BYTES)?;
        let parsed = parse_config(&bytes)?;
        let record = self.record(manifest, config, layers, &parsed)?;
        blobs::put(&self.store.layout, &self.operation, &bytes)?;
        for layer in layers {
            let name = blob_name(layer);
            let mut file = self.open(archive, &name)?;
            let what = format!(
                "storing {}",
                layer.digest.hex().get(..12).unwrap_or_default()
            );
            let step = self.progress.begin(&what, Some(layer.size));
            let (_, size) = blobs::put_stream(
                &self.store.layout,
                &self.operation,
                &mut file,
                &self.source.join(&name),
                self.store.options.max_unpacked_bytes,
                Some(&layer.digest),
                &*step,
            )?;
            self.same_size(&name, layer.size, size)?;
        }
        Ok(record)
    }

    /// A blob that is read into memory.
    fn small(
        &self,
        archive: &Archive,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let name = blob_name(descriptor);
        let bytes = archive
            .read(&name, limit)?
            .ok_or_else(|| self.bad(&format!("{name} is missing")))?;
        let actual = crate::Digest::of(&bytes);
        if actual != descriptor.digest {
            return Err(ImageError::Digest {
                what: format!("{} in {}", name, self.source.display()),
                expected: descriptor.digest.to_string(),
                actual: actual.to_string(),
                fix: "the archive is damaged or was changed: get it anew".to_owned(),
            });
        }
        Ok(bytes)
    }

    pub(super) fn open(&self, archive: &Archive, name: &str) -> Result<std::fs::File, ImageError> {
        archive
            .open(name)?
            .ok_or_else(|| self.bad(&format!("{name} is missing")))
    }

    fn same_size(&self, name: &str, expected: u64, actual: u64) -> Result<(), ImageError> {
        if expected == actual {
            return Ok(());
        }
        Err(ImageError::Size {
            what: format!("{name} in {}", self.source.display()),
            expected,
            actual,
            fix: "have the image built anew".to_owned(),
        })
    }
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}
