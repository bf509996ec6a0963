//! Whiteouts: entries of a layer that remove what lower layers put there.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

/// What the last component of a path asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whiteout<'a> {
    /// Nothing: it is an ordinary name.
    None,
    /// Remove this name of lower layers.
    Remove(&'a [u8]),
    /// Remove everything that lower layers have in this directory.
    Opaque,
    /// Book-keeping of AUFS, which means nothing here.
    Ignore,
}

/// Reads the last component of an entry's path. For hostile bytes; `Err` says what is wrong.
///
/// # Errors
/// A whiteout of nothing, of `.` or of `..`, or one with a slash.
pub fn parse_whiteout(name: &[u8]) -> Result<Whiteout<'_>, &'static str> {
    if name == OPAQUE {
        return Ok(Whiteout::Opaque);
    }
    if name.starts_with(AUFS) {
        return Ok(Whiteout::Ignore);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Whiteout::None),
        Some(b"" | b"." | b"..") => Err("a whiteout that names no file"),
        Some(hidden) if hidden.contains(&b'/') => Err("a whiteout with a slash"),
        Some(hidden) => Ok(Whiteout::Remove(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        assert_eq!(parse_whiteout(b"wh.x"), Ok(Whiteout::None));
        assert_eq!(parse_whiteout(b".wh.x"), Ok(Whiteout::Remove(b"x")));
        assert_eq!(parse_whiteout(b".wh..x"), Ok(Whiteout::Remove(b".x")));
        assert_eq!(parse_whiteout(b".wh..wh..opq"), Ok(Whiteout::Opaque));
        assert_eq!(parse_whiteout(b".wh..wh.plnk"), Ok(Whiteout::Ignore));
        for bad in [&b".wh."[..], b".wh..", b".wh...", b".wh.a/b"] {
            assert!(parse_whiteout(bad).is_err(), "{bad:?}");
        }
    }
}
