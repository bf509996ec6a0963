//! The machine's disks, which are read only: a tool's image, and its own files if it has any.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};

use super::step::{Failed, Step as _};

/// The first disk.
pub(super) const IMAGE: &str = "/image";

/// The second one.
const FILES: &str = "/files";

/// How long a disk may take to be there once its driver is.
const APPEARS: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Mounts them, and answers where the tool's own files are.
pub(super) fn mount_all() -> Result<Option<PathBuf>, Failed> {
    let image = Path::new("/dev/vda");
    let due = Instant::now() + APPEARS;
    while !image.exists() {
        if Instant::now() >= due {
            return Err("there is none").step("disks: /dev/vda");
        }
        std::thread::sleep(LOOK);
    }
    mount_disk(image, IMAGE)?;
    // A driver finds all of its disks at once.
    let files = Path::new("/dev/vdb");
    if !files.exists() {
        return Ok(None);
    }
    mount_disk(files, FILES)?;
    Ok(Some(FILES.into()))
}

fn mount_disk(disk: &Path, at: &str) -> Result<(), Failed> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    create_dir_all(at).step(format_args!("disks: making {at}"))?;
    mount(disk, at, "squashfs", flags, None).step(format_args!("disks: {} at {at}", disk.display()))
}
