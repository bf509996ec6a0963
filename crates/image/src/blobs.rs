//! Bytes under the digest they have.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::digest::copy_hashed;
use crate::operation::Operation;
use crate::store::Layout;
use crate::{Digest, ImageError, Step, disk};

/// What to do about a damaged blob.
pub(crate) const PULL_AGAIN: &str = "remove the image, then pull or import it again";

/// Whether it is there, whole. A blob gets its name only after its digest was checked, and what
/// unpacks it checks again.
pub(crate) fn has(layout: &Layout, digest: &Digest, size: u64) -> bool {
    std::fs::metadata(layout.blob(digest)).is_ok_and(|metadata| metadata.len() == size)
}

/// Stores bytes of ours.
pub(crate) fn put(
    layout: &Layout,
    operation: &Operation,
    bytes: &[u8],
) -> Result<Digest, ImageError> {
    let digest = Digest::of(bytes);
    operation.hold(layout, [&digest])?;
    if !has(layout, &digest, bytes.len() as u64) {
        operation.adds(&digest);
        disk::write_atomic(&operation.scratch("blob"), &layout.blob(&digest), bytes)?;
    }
    Ok(digest)
}

/// Stores what `from` gives, at most `limit` bytes, and says its digest and size. Where `expected`
/// is given it must be that.
pub(crate) fn put_stream(
    layout: &Layout,
    operation: &Operation,
    from: &mut dyn Read,
    source: &Path,
    limit: u64,
    expected: Option<&Digest>,
    step: &dyn Step,
) -> Result<(Digest, u64), ImageError> {
    let temporary = operation.scratch("blob");
    let mut file = disk::create(&temporary)?;
    let mut from = from.take(limit.saturating_add(1));
    let mut to = Target {
        file: &mut file,
        failed: None,
    };
    let hasher = match copy_hashed(&mut from, &mut to, |bytes| step.advance(bytes)) {
        Ok(hasher) => hasher,
        Err(error) => {
            return Err(match to.failed {
                Some(failed) => ImageError::io("writing", &temporary)(failed),
                None => ImageError::io("reading", source)(error),
            });
        }
    };
    let size = hasher.bytes();
    if size > limit {
        return Err(too_large(source, limit));
    }
    file.sync_all()
        .map_err(ImageError::io("writing", &temporary))?;
    let digest = hasher.finish();
    if let Some(expected) = expected
        && *expected != digest
    {
        return Err(ImageError::Digest {
            what: format!("blob in {}", source.display()),
            expected: expected.to_string(),
            actual: digest.to_string(),
            fix: "the archive is damaged or was changed: get it anew".to_owned(),
        });
    }
    operation.hold(layout, [&digest])?;
    if !has(layout, &digest, size) {
        operation.adds(&digest);
    }
    // Over what is there too: somebody may have changed it.
    disk::rename(&temporary, &layout.blob(&digest))?;
    Ok((digest, size))
}

pub(crate) fn too_large(source: &Path, limit: u64) -> ImageError {
    ImageError::TooLarge {
        what: source.display().to_string(),
        limit,
        unit: "bytes",
        fix: "use a smaller image, or raise the store's limit".to_owned(),
    }
}

/// Tells which side of a copy failed.
struct Target<'a> {
    file: &'a mut File,
    failed: Option<std::io::Error>,
}

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a small blob and checks it once more.
pub(crate) fn read(layout: &Layout, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
    let path = layout.blob(digest);
    let bytes = disk::read_bounded(&path, limit)?.ok_or_else(|| {
        ImageError::malformed(
            &format!("blob {digest}"),
            "it is missing from the store",
            PULL_AGAIN,
        )
    })?;
    let actual = Digest::of(&bytes);
    if actual != *digest {
        return Err(ImageError::Digest {
            what: format!("blob {}", path.display()),
            expected: digest.to_string(),
            actual: actual.to_string(),
            fix: PULL_AGAIN.to_owned(),
        });
    }
    Ok(bytes)
}
