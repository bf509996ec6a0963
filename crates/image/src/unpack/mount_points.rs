//! The places where every tool gets something mounted.

use std::ffi::OsStr;
use std::path::Path;

use super::attributes::Attributes;
use super::tree::{Kind, Tree};
use crate::ImageError;

/// Name, mode where it must be made, and whether it must be a directory where it is there: a
/// runtime that mounts onto a symlink may be led out of the root.
const MOUNT_POINTS: [(&str, u32, bool); 8] = [
    ("proc", 0o755, true),
    ("sys", 0o755, true),
    ("dev", 0o755, true),
    ("tmp", 0o1777, true),
    ("axocoatl", 0o755, true),
    ("tool", 0o755, true),
    ("run", 0o755, false),
    ("etc", 0o755, false),
];

/// Makes those that are absent, and refuses those that are something else.
pub(super) fn make(tree: &mut Tree, root: &Path) -> Result<(), ImageError> {
    for (name, mode, must_be_directory) in MOUNT_POINTS {
        let path = OsStr::new(name);
        let kind = tree
            .kind(path)
            .map_err(ImageError::io("looking at", root))?;
        match kind {
            Kind::Directory => {}
            Kind::Absent => tree
                .directory_in_root(path, &Attributes::plain(mode))
                .map_err(ImageError::io("making the mount points in", root))?,
            Kind::Symlink if must_be_directory => return Err(refused(name, "a symlink")),
            Kind::Other if must_be_directory => return Err(refused(name, "a file")),
            Kind::Symlink | Kind::Other => {}
        }
    }
    Ok(())
}

fn refused(name: &str, kind: &'static str) -> ImageError {
    ImageError::MountPoint {
        path: format!("/{name}"),
        kind,
    }
}
