//! `setup.json`: what an installation is made of.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::ArtifactsError;
use crate::files::{self, FileError};

const RECORD: &str = "setup.json";

/// The form of the record. Another one is another installation's.
pub(crate) const FORMAT: u32 = 1;

/// The record, in bytes. It has some three thousand.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) format: u32,
    pub(crate) firecracker: Item,
    pub(crate) jailer: Item,
    pub(crate) kernel: Item,
    pub(crate) modules: Vec<Item>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// Its path in the installation.
    pub(crate) file: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    /// In bytes.
    pub(crate) size: u64,
    /// As [`changed`].
    pub(crate) changed: String,
    /// The path or URL that it was taken from.
    pub(crate) from: String,
}

impl Item {
    /// A file that was just written into the installation in `directory`.
    pub(crate) fn of(
        directory: &Path,
        file: &str,
        version: &str,
        from: &str,
        bytes: &[u8],
    ) -> Result<Self, FileError> {
        let path = directory.join(file);
        let metadata =
            std::fs::symlink_metadata(&path).map_err(FileError::at("looking at", &path))?;
        Ok(Self {
            file: file.to_owned(),
            version: version.to_owned(),
            sha256: crate::digest::of(bytes),
            size: bytes.len() as u64,
            changed: changed(&metadata),
            from: from.to_owned(),
        })
    }
}

impl Record {
    /// Puts it into the installation in `directory`.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), FileError> {
        let path = directory.join(RECORD);
        let json = serde_json::to_vec_pretty(self).map_err(FileError::at("writing", &path))?;
        files::write_new(&path, &json, 0o444)
    }

    /// Everything, in a fixed order: programs, kernel, modules.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        [&self.firecracker, &self.jailer, &self.kernel]
            .into_iter()
            .chain(&self.modules)
    }
}

/// Which file it is and when it was last changed, in nanoseconds: nobody can set that.
pub(crate) fn changed(metadata: &Metadata) -> String {
    format!(
        "{}:{}.{:09}",
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

pub(super) fn read(directory: &Path) -> Result<Record, ArtifactsError> {
    let path = directory.join(RECORD);
    let file = File::open(&path).map_err(FileError::at("opening", &path))?;
    let bytes = files::read_to(file, MAX_BYTES).map_err(FileError::at("reading", &path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ArtifactsError::damaged(&path, "it is too long"));
    }
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|error| ArtifactsError::damaged(&path, error.to_string()))?;
    if record.format != FORMAT {
        return Err(ArtifactsError::damaged(&path, "another version wrote it"));
    }
    let inside = |item: &Item| {
        let mut components = Path::new(&item.file).components();
        components.all(|component| matches!(component, Component::Normal(_)))
    };
    if !record.items().all(inside) {
        return Err(ArtifactsError::damaged(&path, "it names files elsewhere"));
    }
    Ok(record)
}
