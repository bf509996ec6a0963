//! A tar of a root file system, kept as it is: one layer.

use std::io::{self, BufReader, Read};
use std::rc::Rc;

use super::{Import, Stored};
use crate::digest::copy_hashed;
use crate::layer::{Allowance, decompress};
use crate::manifest::Descriptor;
use crate::{ImageError, blobs};

/// A reader with an end.
pub(super) struct Bounded<'a> {
    reader: Box<dyn Read + 'a>,
    allowance: Rc<Allowance>,
}

impl<'a> Bounded<'a> {
    pub(super) fn new(reader: Box<dyn Read + 'a>, allowance: Rc<Allowance>) -> Self {
        Self { reader, allowance }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.allowance.is_exhausted()
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.allowance.take(count as u64)?;
        Ok(count)
    }
}

impl Import<'_> {
    pub(super) fn rootfs_tar(&self) -> Result<Stored, ImageError> {
        let limit = self.store.options.max_unpacked_bytes;
        let mut file =
            std::fs::File::open(self.source).map_err(ImageError::io("opening", self.source))?;
        let total = file.metadata().ok().map(|metadata| metadata.len());
        let step = self.progress.begin("storing the layer", total);
        let (digest, size) = blobs::put_stream(
            &self.store.layout,
            &self.operation,
            &mut file,
            self.source,
            limit,
            None,
            &*step,
        )?;
        drop(step);
        self.one_layer(digest, size)
    }

    /// An image of a layer that is stored.
    pub(super) fn one_layer(&self, digest: crate::Digest, size: u64) -> Result<Stored, ImageError> {
        let limit = self.store.options.max_unpacked_bytes;
        // From the blob, which does not change any more.
        let path = self.store.layout.blob(&digest);
        let file = std::fs::File::open(&path).map_err(ImageError::io("opening", &path))?;
        let broken = |source: io::Error| ImageError::Malformed {
            what: self.source.display().to_string(),
            problem: "it is no whole tar, gzip or zstd".to_owned(),
            fix: "get the file anew, or give a tar".to_owned(),
            source: Some(source.into()),
        };
        let step = self.progress.begin("checking the layer", None);
        let mut decoded = Bounded::new(
            decompress(BufReader::with_capacity(128 << 10, file)).map_err(broken)?,
            Allowance::new(limit),
        );
        let diff_id = match copy_hashed(&mut decoded, &mut io::sink(), |bytes| step.advance(bytes))
        {
            Ok(hasher) => hasher.finish(),
            Err(_) if decoded.is_exhausted() => return Err(blobs::too_large(self.source, limit)),
            Err(error) => return Err(broken(error)),
        };
        let layer = Descriptor {
            digest,
            size,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        };
        self.bare(&layer, &diff_id)
    }
}
