//! The kernel in a bzImage: an ELF, compressed, behind the code that would unpack it on a PC.
//!
//! Offsets from <https://docs.kernel.org/arch/x86/boot.html>, "The Real-Mode Kernel Header".

use std::io::Read;

use super::decompress::{self, Refused};
use super::{KernelError, MAX_ELF_BYTES, MAX_IMAGE_BYTES};

const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The first version of the boot protocol that says where the payload is: Linux 2.6.26.
const MIN_VERSION: u16 = 0x0208;

/// The ELF in `image`, which may be it already.
pub(super) fn extract(what: &str, image: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    if image.starts_with(b"\x7fELF") {
        return Ok(image);
    }
    let malformed = |problem: &str| KernelError::malformed(what, problem);
    if image.len() as u64 > MAX_IMAGE_BYTES {
        return Err(KernelError::TooLarge {
            what: what.to_owned(),
            limit: MAX_IMAGE_BYTES,
        });
    }
    let (flag, version) = (half(&image, BOOT_FLAG), half(&image, VERSION));
    if flag != Some(0xaa55) || image.get(HEADER..HEADER + 4) != Some(b"HdrS") {
        return Err(malformed("it is neither an ELF nor a bzImage"));
    }
    if version.is_none_or(|version| version < MIN_VERSION) {
        return Err(malformed("its boot protocol is older than 2.08"));
    }
    let payload = payload(&image).ok_or_else(|| malformed("its payload lies outside of it"))?;
    unpack(what, payload)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let sectors = match image.get(SETUP_SECTS)? {
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let offset = usize::try_from(word(image, PAYLOAD_OFFSET)?).ok()?;
    let length = usize::try_from(word(image, PAYLOAD_LENGTH)?).ok()?;
    let start = ((sectors + 1) * 512).checked_add(offset)?;
    image.get(start..start.checked_add(length)?)
}

fn unpack(what: &str, payload: &[u8]) -> Result<Vec<u8>, KernelError> {
    let malformed = |problem: String| KernelError::malformed(what, problem);
    // Whatever the compression, the length of the kernel is the end of the payload.
    let end = payload.len().saturating_sub(4);
    let length = word(payload, end).ok_or_else(|| malformed("it has no kernel in it".into()))?;
    if u64::from(length) > MAX_ELF_BYTES {
        return Err(KernelError::TooLarge {
            what: what.to_owned(),
            limit: MAX_ELF_BYTES,
        });
    }
    // Gzip has that length as the end of its own format, the others have it appended.
    let stream = match payload.get(..2) {
        Some([0x1f, 0x8b]) => payload,
        _ => payload.get(..end).unwrap_or_default(),
    };
    let reader = decompress::reader(stream).map_err(|refused| match refused {
        Refused::Compression(compression) => KernelError::Compression {
            what: format!("the kernel in {what}"),
            compression,
        },
        Refused::Io(error) => malformed(error.to_string()),
    })?;
    let mut elf = Vec::new();
    reader
        .take(u64::from(length) + 1)
        .read_to_end(&mut elf)
        .map_err(|error| malformed(format!("its kernel does not decompress: {error}")))?;
    if elf.len() as u64 != u64::from(length) {
        return Err(malformed(format!(
            "its kernel is announced with {length} bytes and has {}",
            if elf.len() as u64 > u64::from(length) {
                "more"
            } else {
                "fewer"
            }
        )));
    }
    Ok(elf)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::decompress::tests::packed_lz4;
    use super::*;

    /// What a bzImage is made of, as far as we look.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[SETUP_SECTS] = 1;
        image[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        image[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image
    }

    fn with_length(stream: &[u8], length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_le_bytes();
        [stream, &length].concat()
    }

    #[test]
    fn a_kernel_is_unpacked_whatever_compressed_it() {
        let kernel = b"kernel kernel kernel kernel kernel kernel".as_slice();
        let mut gzip = Vec::new();
        flate2::read::GzEncoder::new(kernel, flate2::Compression::best())
            .read_to_end(&mut gzip)
            .unwrap();
        let zstd = with_length(&zstd::encode_all(kernel, 1).unwrap(), kernel.len());
        let lz4 = with_length(&packed_lz4(kernel), kernel.len());
        for payload in [gzip, zstd, lz4] {
            assert_eq!(extract("k", image(&payload)).unwrap(), kernel);
        }
        assert_eq!(extract("k", b"\x7fELF...".to_vec()).unwrap(), b"\x7fELF...");
    }

    #[test]
    fn a_compression_that_is_not_read_is_named() {
        let payload = with_length(&[0x5d, 0, 0, 0x80, 0, 0], 3);
        let error = extract("k", image(&payload)).unwrap_err();
        assert!(error.to_string().contains("lzma"), "{error}");
    }

    #[test]
    fn lying_lengths_are_refused() {
        let kernel = vec![7; 100_000];
        let stream = packed_lz4(&kernel);
        for length in [0, 99_999, 100_001, 600 << 20] {
            let payload = with_length(&stream, length);
            assert!(extract("k", image(&payload)).is_err(), "{length}");
        }
        let good = image(&with_length(&stream, kernel.len()));
        assert!(extract("k", good.clone()).is_ok());
        for end in [0, 2, 0x201, 0x205, 0x24a, 1024, good.len() - 1] {
            assert!(extract("k", good[..end].to_vec()).is_err(), "{end}");
        }
        for at in [PAYLOAD_OFFSET, PAYLOAD_LENGTH] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(extract("k", bad).is_err());
        }
        let mut old = good;
        old[VERSION] = 7;
        old[VERSION + 1] = 2;
        assert!(extract("k", old).is_err());
    }
}
