//! Reads files that tools and users put there: bounded, and without waiting for a FIFO or device.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The content of a regular file of at most `limit` bytes; links are followed.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    read_with_metadata(path, limit).map(|(content, _)| content)
}

/// The same, with the metadata of the very file that was read.
pub(crate) fn read_with_metadata(path: &Path, limit: usize) -> io::Result<(Vec<u8>, Metadata)> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok((content, metadata))
}

/// The same, as text.
pub(crate) fn read_text(path: &Path, limit: usize) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::other("it is not UTF-8"))
}
