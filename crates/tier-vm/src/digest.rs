//! SHA-256 digests: of what is installed, and as names of what is cached.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Digits of a digest in hexadecimal.
const HEX_DIGITS: usize = 64;

pub(crate) fn hex(hasher: Sha256) -> String {
    hasher
        .finalize()
        .iter()
        .fold(String::with_capacity(HEX_DIGITS), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(crate) fn of(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The digest of what is left in `file`.
pub(crate) fn of_file(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(hasher)),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digits of `[sha256:]<64 small hexadecimal digits>`, which are safe as a file name, because
/// they are nothing else.
pub(crate) fn checked(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let good = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    (digits.len() == HEX_DIGITS && digits.bytes().all(good)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_digest_is_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(b""), empty);
        assert_eq!(checked(empty), Some(empty));
        assert_eq!(checked(&format!("sha256:{empty}")), Some(empty));
        for bad in [
            "",
            "sha256:",
            "../../../../etc/passwd",
            &empty.to_uppercase(),
            &format!("{empty}0"),
            &format!("{empty}\n"),
        ] {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
    }
}
