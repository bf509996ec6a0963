//! The outer archive of a Debian package.

use std::io::{self, Read};

pub(super) const MAGIC: &[u8] = b"!<arch>\n";

/// Members before the data, at most. There are two, and may be some whose names begin with `_`.
const MAX_MEMBERS: usize = 16;

/// The member `data.tar.*`, as a reader of just that.
pub(super) fn data<R: Read>(mut archive: R) -> io::Result<impl Read> {
    let mut magic = [0; 8];
    archive.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(invalid("it is no ar archive"));
    }
    for _ in 0..MAX_MEMBERS {
        let mut header = [0; 60];
        archive.read_exact(&mut header)?;
        let (name, size) = member(&header).ok_or_else(|| invalid("a member has a bad header"))?;
        if name.starts_with("data.tar") {
            return Ok(archive.take(size));
        }
        // Members begin at even offsets.
        let padded = size + size % 2;
        let skipped = io::copy(&mut archive.by_ref().take(padded), &mut io::sink())?;
        if skipped != padded {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Err(invalid("it has no data.tar"))
}

/// Name and size of a member.
fn member(header: &[u8; 60]) -> Option<(&str, u64)> {
    if header.get(58..) != Some(b"`\n") {
        return None;
    }
    let text = |bytes| std::str::from_utf8(bytes).ok().map(str::trim_end);
    let name = text(header.get(..16)?)?;
    let size = text(header.get(48..58)?)?;
    // `parse` would take a sign.
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((name, size.parse().ok()?))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::archive;

    fn read(archive: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        data(archive)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn the_data_is_found_behind_the_control() {
        let control = ("control.tar.xz", b"odd".as_slice());
        let data = ("data.tar.xz", b"data".as_slice());
        let good = archive(&[("debian-binary", b"2.0\n"), control, data]);
        assert_eq!(read(&good).unwrap(), b"data");
        for bad in [
            &archive(&[control, control]),
            &good[..good.len() - 50],
            &good[..30],
            MAGIC,
            b"",
        ] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn a_lying_size_reads_no_further_than_the_file() {
        let mut archive = archive(&[("control.tar", b"x"), ("data.tar", b"y")]);
        archive[8 + 48..8 + 58].copy_from_slice(b"9999999999");
        assert!(read(&archive).is_err());
        archive[8 + 48..8 + 58].copy_from_slice(b"-1        ");
        assert!(read(&archive).is_err());
    }
}
