//! What `docker save` writes: `manifest.json`, a configuration, and layers as tars.

use serde::Deserialize;

use super::archive::{Archive, DOCKER_MANIFEST};
use super::{Import, Stored};
use crate::bounds::{MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES};
use crate::digest::copy_hashed;
use crate::error::misread;
use crate::layer::{Allowance, decompress};
use crate::manifest::Descriptor;
use crate::{Digest, ImageError, Reference, blobs, parse_config};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl RawImage {
    /// The files that it is made of.
    fn names(&self) -> impl Iterator<Item = &String> {
        [&self.config].into_iter().chain(&self.layers)
    }
}

/// Name of a file in an archive, in bytes: a digest and some directories, and errors repeat it.
const MAX_NAMED_BYTES: usize = 1024;

impl Import<'_> {
    pub(super) fn docker_archive(&self, archive: &Archive) -> Result<Stored, ImageError> {
        let bytes = archive
            .read(DOCKER_MANIFEST, MAX_MANIFEST_BYTES)?
            .ok_or_else(|| self.bad("an archive without manifest.json"))?;
        let images: Vec<RawImage> =
            serde_json::from_slice(&bytes).map_err(|error| ImageError::Malformed {
                what: self.source.display().to_string(),
                problem: "its manifest.json is not that of a `docker save` archive".to_owned(),
                fix: "make the archive anew".to_owned(),
                source: Some(misread(&error)),
            })?;
        let [image] = images.as_slice() else {
            let problem = format!("it holds {} images instead of one", images.len());
            return Err(self.bad(&problem));
        };
        if image.layers.len() > MAX_LAYERS {
            return Err(self.bad("it has too many layers"));
        }
        if image.names().any(|name| name.len() > MAX_NAMED_BYTES) {
            return Err(self.bad("its manifest.json names a file with a name that is too long"));
        }

        let config_bytes = archive
            .read(&image.config, MAX_CONFIG_BYTES)?
            .ok_or_else(|| self.bad("its configuration is missing"))?;
        let parsed = parse_config(&config_bytes)?;
        parsed.check(
            &self.source.display().to_string(),
            self.platform,
            image.layers.len(),
        )?;
        let config = Descriptor {
            digest: blobs::put(&self.store.layout, &self.operation, &config_bytes)?,
            size: config_bytes.len() as u64,
            media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
        };
        let mut layers = Vec::with_capacity(image.layers.len());
        for (name, diff_id) in image.layers.iter().zip(&parsed.diff_ids) {
            layers.push(self.archived_layer(archive, name, diff_id)?);
        }
        let manifest = self.put_manifest(&config, &layers)?;
        let name = image
            .repo_tags
            .iter()
            .flatten()
            .find_map(|tag| tag.parse::<Reference>().ok());
        Ok(Stored {
            record: self.record(manifest, &config, &layers, &parsed)?,
            name,
        })
    }

    /// Nothing but the configuration's diff_id says what a layer must be, so it is checked here.
    fn archived_layer(
        &self,
        archive: &Archive,
        name: &str,
        diff_id: &Digest,
    ) -> Result<Descriptor, ImageError> {
        let limit = self.store.options.max_unpacked_bytes;
        let path = self.source.join(name);
        let file = self.open(archive, name)?;
        let broken = |source: std::io::Error| ImageError::Malformed {
            what: path.display().to_string(),
            problem: "it is no whole tar, gzip or zstd".to_owned(),
            fix: "make the archive anew".to_owned(),
            source: Some(source.into()),
        };
        let mut decoded = super::plain::Bounded::new(
            decompress(std::io::BufReader::with_capacity(128 << 10, file)).map_err(broken)?,
            Allowance::new(limit),
        );
        let hasher = match copy_hashed(&mut decoded, &mut std::io::sink(), |_| {}) {
            Ok(hasher) => hasher,
            Err(_) if decoded.is_exhausted() => return Err(blobs::too_large(&path, limit)),
            Err(error) => return Err(broken(error)),
        };
        let actual = hasher.finish();
        if actual != *diff_id {
            return Err(ImageError::Digest {
                what: format!("layer {name} in {}", self.source.display()),
                expected: diff_id.to_string(),
                actual: actual.to_string(),
                fix: "the archive is damaged or was changed: make it anew".to_owned(),
            });
        }
        let step = self.progress.begin(&format!("storing {name}"), None);
        let mut file = self.open(archive, name)?;
        let (digest, size) = blobs::put_stream(
            &self.store.layout,
            &self.operation,
            &mut file,
            &path,
            limit,
            None,
            &*step,
        )?;
        Ok(Descriptor {
            digest,
            size,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        })
    }
}
