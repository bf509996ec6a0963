//! The compressions that kernels, modules and packages come in, told by their first bytes.

mod lz4;

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

/// What an xz stream may take to decompress, in KiB. `xz -9` needs 65 MiB.
const MAX_XZ_KIB: u32 = 128 << 10;

/// How something is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
    /// The frames that `lz4 -l` makes and kernels are built with.
    Lz4,
    /// Something that we know by name only.
    Unread(&'static str),
}

/// First bytes, and what they begin.
const MAGICS: [(&[u8], Compression); 8] = [
    (&[0x1f, 0x8b, 0x08], Compression::Gzip),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], Compression::Xz),
    (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    (&lz4::MAGIC, Compression::Lz4),
    (&[0x04, 0x22, 0x4d, 0x18], Compression::Unread("lz4 frames")),
    (b"BZh", Compression::Unread("bzip2")),
    (&[0x5d, 0x00, 0x00], Compression::Unread("lzma")),
    (&[0x89, b'L', b'Z', b'O'], Compression::Unread("lzo")),
];

impl Compression {
    pub(super) fn of(start: &[u8]) -> Self {
        let found = MAGICS.iter().find(|(magic, _)| start.starts_with(magic));
        found.map_or(Self::None, |(_, compression)| *compression)
    }
}

/// Why nothing is decompressed.
#[derive(Debug)]
pub(super) enum Refused {
    /// By its name.
    Compression(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The first stream in `from`, decompressed as it is read; what follows it is not looked at. The
/// memory that takes is bounded, the bytes that come out are not.
pub(super) fn reader<'a>(mut from: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>, Refused> {
    Ok(match Compression::of(from.fill_buf()?) {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(GzDecoder::new(from)),
        Compression::Xz => Box::new(XzReader::new_mem_limit(from, false, MAX_XZ_KIB)),
        // Windows above 128 MiB are refused by default.
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(from)?.single_frame()),
        Compression::Lz4 => Box::new(lz4::Reader::new(from)?),
        Compression::Unread(name) => return Err(Refused::Compression(name)),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    pub(in crate::kernel) use lz4::tests::pack as packed_lz4;

    fn decompressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        reader(bytes).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_compression_is_told_by_its_first_bytes_and_undone() {
        let text = b"the same text over and over, over and over, over and over".as_slice();
        let mut gzip = flate2::read::GzEncoder::new(text, flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        let zstd = zstd::encode_all(text, 1).unwrap();
        for packed in [text, &gzipped, &zstd, &packed_lz4(text)] {
            assert_eq!(decompressed(packed).unwrap(), text);
            if packed != text {
                assert!(decompressed(&packed[..packed.len() - 1]).is_err());
            }
        }
        // What is appended is no business of the stream.
        let appended = [&zstd[..], &[57, 0, 0, 0]].concat();
        assert_eq!(decompressed(&appended).unwrap(), text);
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (start, name) in [
            (b"BZh9".as_slice(), "bzip2"),
            (&[0x5d, 0, 0, 0x80], "lzma"),
            (&[0x89, b'L', b'Z', b'O', 0], "lzo"),
        ] {
            let refused = reader(start).err();
            assert!(matches!(refused, Some(Refused::Compression(n)) if n == name));
        }
    }
}
