//! Our own record of an image: `images/<hex of manifest digest>.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bounds::{MAX_LAYERS, MAX_RECORD_BYTES, MAX_REFERENCES};
use crate::digest::Hasher;
use crate::error::misread;
use crate::operation::Operation;
use crate::{Digest, ImageError, disk};

/// The generation of records and of unpacked root file systems. A change to either raises it.
const GENERATION: u32 = 1;

/// A layer as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredLayer {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
}

/// What the store remembers of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    generation: u32,
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) layers: Vec<StoredLayer>,
    /// Whole names: `registry/name:tag`, or `registry/name@sha256:…`.
    pub(crate) references: Vec<String>,
    /// Digests of the indexes that led to it, under which it is known too.
    pub(crate) indexes: Vec<Digest>,
    /// Of all its blobs, in bytes.
    pub(crate) size: u64,
}

impl Record {
    pub(crate) const fn new(
        manifest: Digest,
        config: Digest,
        layers: Vec<StoredLayer>,
        size: u64,
    ) -> Self {
        Self {
            generation: GENERATION,
            manifest,
            config,
            layers,
            references: Vec::new(),
            indexes: Vec::new(),
            size,
        }
    }

    /// Every blob it needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        [&self.manifest, &self.config]
            .into_iter()
            .chain(self.indexes.iter())
            .chain(self.layers.iter().map(|layer| &layer.digest))
    }

    /// The name of its unpacked root file system: what is unpacked decides, so images with the
    /// same layers share it.
    pub(crate) fn rootfs_key(&self) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(format!("axocoatl rootfs {GENERATION}\n").as_bytes());
        for layer in &self.layers {
            hasher.update(layer.diff_id.as_str().as_bytes());
            hasher.update(b"\n");
        }
        hasher.finish()
    }

    pub(crate) fn add_reference(&mut self, reference: String) {
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }

    /// Writes it under its name.
    pub(crate) fn save(&self, images: &Path, operation: &Operation) -> Result<(), ImageError> {
        if self.references.len() > MAX_REFERENCES {
            return Err(ImageError::TooLarge {
                what: format!("image {}", self.manifest),
                limit: MAX_REFERENCES as u64,
                unit: "references",
                fix: "remove some of them".to_owned(),
            });
        }
        let path = images.join(format!("{}.json", self.manifest.hex()));
        let text = serde_json::to_vec_pretty(self).map_err(|error| ImageError::Malformed {
            what: format!("record {}", path.display()),
            problem: "it cannot be written as JSON".to_owned(),
            fix: "report this".to_owned(),
            source: Some(error.into()),
        })?;
        disk::write_atomic(&operation.scratch("record"), &path, &text)
    }
}

/// Reads a record. For bytes that something else may have changed.
///
/// # Errors
/// It is too long, or none of this generation.
pub fn parse_record(bytes: &[u8]) -> Result<Record, ImageError> {
    let bad = |problem: &str, source: Option<crate::BoxError>| ImageError::Malformed {
        what: "record of an image".to_owned(),
        problem: problem.to_owned(),
        fix: "remove that file, then pull or import the image again".to_owned(),
        source,
    };
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(bad("it is too long", None));
    }
    let record: Record = serde_json::from_slice(bytes)
        .map_err(|error| bad("it cannot be read", Some(misread(&error))))?;
    if record.generation != GENERATION {
        return Err(bad("it is of another version of this program", None));
    }
    if record.layers.is_empty() || record.layers.len() > MAX_LAYERS {
        return Err(bad("it has no layer, or too many", None));
    }
    if record.references.len() > MAX_REFERENCES {
        return Err(bad("it has too many references", None));
    }
    Ok(record)
}

/// All records, and the errors of those that cannot be read.
pub(crate) struct Records {
    pub(crate) good: Vec<Record>,
    pub(crate) bad: Vec<ImageError>,
}

impl Records {
    /// Reads every record below `images`.
    pub(crate) fn load(images: &Path) -> Result<Self, ImageError> {
        let mut records = Self {
            good: Vec::new(),
            bad: Vec::new(),
        };
        for name in disk::names(images)? {
            let path = images.join(&name);
            match load_one(&path) {
                Ok(Some(record)) => records.good.push(record),
                Ok(None) => {}
                Err(error) => records.bad.push(error),
            }
        }
        records.good.sort_by(|a, b| a.manifest.cmp(&b.manifest));
        Ok(records)
    }

    /// Removing what no record needs is only safe when all of them can be read.
    pub(crate) fn all(mut self) -> Result<Vec<Record>, ImageError> {
        match self.bad.pop() {
            Some(error) => Err(error),
            None => Ok(self.good),
        }
    }

    /// Those that can be read.
    pub(crate) fn readable(self) -> Vec<Record> {
        for error in &self.bad {
            tracing::warn!(%error, "an image is left out");
        }
        self.good
    }
}

fn load_one(path: &Path) -> Result<Option<Record>, ImageError> {
    // A record may be removed while we list.
    let Some(bytes) = disk::read_bounded(path, MAX_RECORD_BYTES)? else {
        return Ok(None);
    };
    let record = parse_record(&bytes).map_err(|error| with_path(error, path))?;
    let expected = format!("{}.json", record.manifest.hex());
    if path
        .file_name()
        .is_none_or(|name| name != expected.as_str())
    {
        return Err(ImageError::malformed(
            &format!("record {}", path.display()),
            "it is of another image than its name says",
            "remove that file, then pull or import the image again",
        ));
    }
    Ok(Some(record))
}

fn with_path(error: ImageError, path: &Path) -> ImageError {
    match error {
        ImageError::Malformed {
            problem,
            fix,
            source,
            ..
        } => ImageError::Malformed {
            what: format!("record {}", path.display()),
            problem,
            fix,
            source,
        },
        other => other,
    }
}
