//! Paths of entries.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::bounds::{MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES};

/// The path of an entry, beneath the root as written. Where it really leads, only the kernel
/// says: a component may be a symlink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EntryPath {
    /// Directory, without a leading slash; empty for the root.
    pub(crate) parent: OsString,
    /// Last component; `None` for the root itself.
    pub(crate) name: Option<OsString>,
}

/// Reads the path of an entry, or of the target of a hard link. A leading slash means the root of
/// the image, as everywhere.
pub(crate) fn parse(bytes: &[u8]) -> Result<EntryPath, &'static str> {
    if bytes.len() > MAX_PATH_BYTES {
        return Err("its path is too long");
    }
    if bytes.contains(&0) {
        return Err("its path has a zero byte");
    }
    let mut components = Vec::new();
    for component in bytes.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("its path leads upwards (..)"),
            long if long.len() > MAX_NAME_BYTES => return Err("a part of its path is too long"),
            name => components.push(name),
        }
    }
    if components.len() > MAX_DEPTH {
        return Err("its path is too deep");
    }
    let name = components
        .pop()
        .map(|name| OsStr::from_bytes(name).to_owned());
    Ok(EntryPath {
        parent: OsStr::from_bytes(&components.join(&b'/')).to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        for (text, parent, name) in [
            ("", "", None),
            ("./", "", None),
            ("/", "", None),
            ("a", "", Some("a")),
            ("./a//b/./c/", "a/b", Some("c")),
            ("/etc/passwd", "etc", Some("passwd")),
            ("..a/b..", "..a", Some("b..")),
        ] {
            let path = parse(text.as_bytes()).unwrap();
            assert_eq!(path.parent, parent, "{text}");
            assert_eq!(path.name.as_deref(), name.map(OsStr::new), "{text}");
        }
        for bad in [
            "..",
            "a/../b",
            "../x",
            "/..",
            "a\0b",
            &"x".repeat(256),
            &"a/".repeat(200),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_upwards(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(path) = parse(&bytes) {
                let name = path.name.unwrap_or_default();
                for part in path.parent.as_bytes().split(|b| *b == b'/').chain([name.as_bytes()]) {
                    prop_assert!(part != b".." && part != b"." && !part.contains(&0));
                }
                prop_assert!(!path.parent.as_bytes().starts_with(b"/"));
                prop_assert!(!name.as_bytes().contains(&b'/'));
            }
        }
    }
}
