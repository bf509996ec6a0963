//! Ways in for the fuzz targets in `fuzz/`, which would otherwise need a disk or a registry. Nobody
//! else has a use for them.

use std::ffi::OsString;
use std::path::Path;

use crate::operation::Operation;
use crate::record::{Record, StoredLayer};
use crate::registry::auth_file::{self, Found};
use crate::unpack::{self, Limits, entry_path};
use crate::{Digest, ImageError, Silent, Store, disk};

/// The directory and the name that the path of an entry means; no name for the root.
///
/// # Errors
/// What is wrong with it.
pub fn entry_path(bytes: &[u8]) -> Result<(OsString, Option<OsString>), &'static str> {
    entry_path::parse(bytes).map(|path| (path.parent, path.name))
}

/// User name and password that a credentials file has for a registry.
///
/// # Errors
/// It is none, or has what is not supported.
pub fn credentials(
    file: &[u8],
    registry: &str,
    repository: &str,
) -> Result<Option<(String, String)>, ImageError> {
    let path = Path::new("auth.json");
    Ok(
        match auth_file::parse(path, file, &[registry], repository)? {
            Found::Basic(user, password) => Some((user, password)),
            Found::Helper(_) | Found::Nothing => None,
        },
    )
}

/// Unpacks tars as the layers of an image, has somebody look at what became of it, and removes it.
///
/// # Errors
/// The disk. What unpacking says is for `look`.
pub fn unpack(
    store: &Store,
    tars: &[Vec<u8>],
    look: impl FnOnce(&Path, Result<(), ImageError>),
) -> Result<(), ImageError> {
    let operation = Operation::begin(&store.layout)?;
    let mut layers = Vec::new();
    for tar in tars {
        let digest = Digest::of(tar);
        let path = store.layout.blob(&digest);
        std::fs::write(&path, tar).map_err(ImageError::io("writing", &path))?;
        layers.push(StoredLayer {
            diff_id: digest.clone(),
            digest,
            size: tar.len() as u64,
        });
    }
    let none = Digest::of(b"");
    let record = Record::new(none.clone(), none, layers, 0);
    let root = operation.scratch("rootfs");
    let limits = Limits {
        bytes: store.options.max_unpacked_bytes,
        files: store.options.max_files,
    };
    let unpacked = unpack::image(&store.layout, &record, &root, limits, &Silent);
    look(&root, unpacked);
    for layer in &record.layers {
        disk::remove_file(&store.layout.blob(&layer.digest))?;
    }
    drop(operation);
    Ok(())
}
