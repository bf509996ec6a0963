//! A layer as a stream: decompressed, bounded, and checked against both its digests.
//!
//! ```text
//! blob ─▶ digest ─▶ gzip, zstd or nothing ─▶ bound ─▶ diff_id ─▶ tar
//! ```

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::digest::Hasher;
use crate::{Digest, Step};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Compression is told by the first bytes: media types lie, and tars have none.
pub(crate) fn decompress<'a>(mut from: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = from.fill_buf()?;
    Ok(if start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(from))
    } else if start.starts_with(ZSTD) {
        // Windows above 128 MiB are refused by default, so its memory is bounded.
        Box::new(zstd::Decoder::with_buffer(from)?)
    } else {
        Box::new(from)
    })
}

/// What is left of a bound, and whether somebody ran into it.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: Cell<u64>,
    exhausted: Cell<bool>,
}

impl Allowance {
    pub(crate) fn new(bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(bytes),
            exhausted: Cell::new(false),
        })
    }

    pub(crate) const fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    pub(crate) fn set(&self, bytes: u64) {
        self.left.set(bytes);
    }

    /// Takes `bytes`, or fails and stays exhausted.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.exhausted.set(true);
                Err(io::Error::other("past its limit"))
            }
        }
    }
}

/// The reader at the end of the chain, for `tar`.
pub(crate) struct Layer<'a> {
    decoded: Box<dyn Read + 'a>,
    raw: Rc<RefCell<Raw<'a>>>,
    hasher: Hasher,
    /// For all layers of the image together.
    total: Rc<Allowance>,
    /// For the part of the tar that is being read.
    part: Rc<Allowance>,
}

struct Raw<'a> {
    file: File,
    hasher: Hasher,
    step: &'a dyn Step,
}

struct SharedRaw<'a>(Rc<RefCell<Raw<'a>>>);

impl Read for SharedRaw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = self.0.borrow_mut();
        let count = raw.file.read(buffer)?;
        raw.hasher.update(buffer.get(..count).unwrap_or_default());
        raw.step.advance(count as u64);
        Ok(count)
    }
}

impl<'a> Layer<'a> {
    pub(crate) fn new(
        file: File,
        total: Rc<Allowance>,
        part: Rc<Allowance>,
        step: &'a dyn Step,
    ) -> io::Result<Self> {
        let raw = Rc::new(RefCell::new(Raw {
            file,
            hasher: Hasher::default(),
            step,
        }));
        let buffered = BufReader::with_capacity(128 << 10, SharedRaw(Rc::clone(&raw)));
        Ok(Self {
            decoded: decompress(buffered)?,
            raw,
            hasher: Hasher::default(),
            total,
            part,
        })
    }

    /// Reads what the tar left unread, and says what the bytes were: the blob's digest, and the
    /// diff_id where it could be decompressed to its end.
    pub(crate) fn finish(mut self) -> (io::Result<Digest>, io::Result<Digest>) {
        self.part.set(u64::MAX);
        let decoded = io::copy(&mut self, &mut io::sink());
        let Self { raw, hasher, .. } = self;
        let rest = io::copy(&mut SharedRaw(Rc::clone(&raw)), &mut io::sink());
        let digest = raw.borrow().hasher.clone().finish();
        (rest.map(|_| digest), decoded.map(|_| hasher.finish()))
    }
}

impl Read for Layer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoded.read(buffer)?;
        self.part.take(count as u64)?;
        self.total.take(count as u64)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
