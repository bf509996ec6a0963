//! A store of a user who is not root. The child is a copy of this test program, run as that user.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use axo_image::{Silent, Store};
use tar::EntryType;

use crate::support::Tar;

const ROOT: &str = "AXO_IMAGE_TEST_OWNER";
const NOBODY: u32 = 65534;

#[test]
fn child() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let root = Path::new(&root);
    let store = Store::open(&root.join("store")).unwrap();
    let image = store.import(&root.join("tar"), None, &Silent).unwrap();
    let rootfs = store.rootfs(&image, &Silent).unwrap();
    let of = |name: &str| rootfs.path().join(name).symlink_metadata().unwrap();
    assert_eq!(of("private").uid(), NOBODY);
    assert_eq!(of("private").permissions().mode() & 0o7777, 0o606);
    assert_eq!(of("ro").permissions().mode() & 0o7777, 0o505);
    assert_eq!(of("ro/sub/f").permissions().mode() & 0o7777, 0o404);
    assert_eq!(of("none").permissions().mode() & 0o7777, 0);
    drop(rootfs);
    assert!(store.remove(&image.digest).unwrap().image);
    for name in ["rootfs", "staging", "blobs/sha256"] {
        assert_eq!(
            std::fs::read_dir(store.root().join(name)).unwrap().count(),
            0,
            "{name}"
        );
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another user is another process")]
fn a_user_who_is_not_root() {
    let directory = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .entry(EntryType::Directory, "./", 0o555, "", b"")
        .entry(EntryType::Regular, "private", 0o4600, "", b"x")
        .entry(EntryType::Directory, "ro", 0o500, "", b"")
        .entry(EntryType::Directory, "ro/sub", 0o500, "", b"")
        .entry(EntryType::Regular, "ro/sub/f", 0o400, "", b"x")
        .entry(EntryType::Directory, "none", 0o000, "", b"")
        .entry(EntryType::Regular, "none/f", 0o000, "", b"x")
        .end();
    std::fs::write(directory.path().join("tar"), tar).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The program itself may lie where that user cannot enter.
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = std::process::Command::new(&program)
        .args(["--exact", "owners::child", "--nocapture"])
        .env(ROOT, directory.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "run as root: {text}");
}
