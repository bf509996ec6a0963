//! The digest of what a bundle runs.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// Longest program, in bytes: it is read whole for its digest, which takes a second or two at this size.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// Why a program has no digest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestError {
    #[error(
        "its program has more than {MAX_PROGRAM_BYTES} bytes, which are read for the call's digest; an image has a digest already"
    )]
    TooLarge,
    #[error("reading its program")]
    Read(#[source] io::Error),
}

/// SHA-256 over `config.json` and the program that it names. A whole root file system is not read
/// for each call: an image, whose digest covers it, is the form for that.
pub(super) fn digest(config: &[u8], program: File) -> Result<Arc<str>, DigestError> {
    /// Programs whose digest is remembered.
    const MAX_KNOWN: usize = 256;
    type Key = (u64, u64, u64, i64, i64);
    static KNOWN: Mutex<Vec<(Key, [u8; 32])>> = Mutex::new(Vec::new());

    let metadata = program.metadata().map_err(DigestError::Read)?;
    if metadata.size() > MAX_PROGRAM_BYTES {
        return Err(DigestError::TooLarge);
    }
    let key = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    let known = || {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(k, _)| *k == key).map(|(_, sum)| *sum)
    };
    let program_sum = match known() {
        Some(sum) => sum,
        None => {
            let sum = sum_of(program)?;
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KNOWN {
                known.remove(0);
            }
            known.push((key, sum));
            sum
        }
    };
    let mut sum = Sha256::new();
    sum.update(config);
    sum.update(program_sum);
    let hex: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Arc::from(format!("sha256:{hex}")))
}

fn sum_of(mut file: File) -> Result<[u8; 32], DigestError> {
    use std::io::Seek as _;
    file.rewind().map_err(DigestError::Read)?;
    // It may grow while it is read.
    let mut file = file.take(MAX_PROGRAM_BYTES + 1);
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(DigestError::Read)?;
        if read == 0 {
            break;
        }
        sum.update(&buffer[..read]);
    }
    match file.limit() {
        0 => Err(DigestError::TooLarge),
        _ => Ok(sum.finalize().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse file is of any size at no cost, but for whoever reads it.
    #[test]
    fn a_program_too_large_is_refused_before_it_is_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * MAX_PROGRAM_BYTES).unwrap();
        let refused = digest(b"", file);
        assert!(matches!(refused, Err(DigestError::TooLarge)));
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        digest(b"", file).unwrap();
    }
}
