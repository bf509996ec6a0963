//! What layers do to each other.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tar::EntryType;

use crate::support::{Tar, gzip, home, names};

#[test]
fn whiteouts_remove_and_opaque_directories_hide() {
    let home = home();
    let lower = Tar::new()
        .dir("keep")
        .file("keep/a", "1")
        .file("keep/b", "1")
        .file("keep/.hidden", "1")
        .dir("hide")
        .file("hide/old", "1")
        .dir("hide/sub")
        .file("hide/sub/old", "1")
        .dir("gone")
        .file("gone/x", "1")
        .end();
    let upper = Tar::new()
        .file("keep/.wh.a", "")
        .file("keep/.wh..hidden", "")
        .file(".wh.gone", "")
        .file(".wh.never-was", "")
        .file("no/such/.wh.dir", "")
        // The opaque marker last: what this layer adds stays.
        .file("hide/sub/new", "2")
        .file("hide/new", "2")
        .file("hide/.wh..wh..opq", "")
        .file("keep/.wh..wh.plnk", "")
        .end();
    let rootfs = home.unpack(&[lower, gzip(&upper)]).unwrap();
    let root = rootfs.path();
    assert_eq!(names(&root.join("keep")), ["b"]);
    assert_eq!(names(&root.join("hide")), ["new", "sub"]);
    assert_eq!(names(&root.join("hide/sub")), ["new"]);
    assert!(!root.join("gone").exists() && !root.join("no").exists());
}

#[test]
fn a_whiteout_hides_lower_layers_only() {
    let home = home();
    let lower = Tar::new()
        .file("a", "old")
        .dir("d")
        .file("d/old", "1")
        .end();
    let upper = Tar::new()
        .file("a", "new")
        .file(".wh.a", "")
        .dir("d")
        .file("d/new", "2")
        .file(".wh.d", "")
        .end();
    let rootfs = home.unpack(&[lower, upper]).unwrap();
    assert_eq!(
        std::fs::read_to_string(rootfs.path().join("a")).unwrap(),
        "new"
    );
    assert_eq!(names(&rootfs.path().join("d")), ["new"]);
}

#[test]
fn later_entries_and_layers_replace() {
    let home = home();
    let lower = Tar::new()
        .file("twice", "first")
        .file("twice", "second")
        .dir("dir")
        .file("dir/x", "1")
        .file("file", "1")
        .symlink("link", "dir")
        .end();
    let upper = Tar::new()
        .file("dir", "now a file")
        .dir("file")
        .file("file/y", "2")
        .dir("link")
        .end();
    let rootfs = home.unpack(&[lower, upper]).unwrap();
    let root = rootfs.path();
    assert_eq!(
        std::fs::read_to_string(root.join("twice")).unwrap(),
        "second"
    );
    assert!(root.join("dir").is_file() && root.join("file/y").is_file());
    assert!(root.join("link").symlink_metadata().unwrap().is_dir());
}

#[test]
fn paths_through_symlinks_of_lower_layers_stay_in_the_root() {
    let home = home();
    let lower = Tar::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "/usr/lib")
        .symlink("up", "../../usr")
        .end();
    let upper = Tar::new().file("lib/a", "1").file("up/lib/b", "1").end();
    let rootfs = home.unpack(&[lower, upper]).unwrap();
    assert_eq!(names(&rootfs.path().join("usr/lib")), ["a", "b"]);
}

#[test]
fn attributes() {
    let home = home();
    let tar = Tar::new()
        .entry(EntryType::Directory, "ro", 0o555, "", b"")
        .entry(EntryType::Regular, "ro/su", 0o6755, "", b"x")
        .entry(EntryType::Directory, "t", 0o3777, "", b"")
        .entry(EntryType::Directory, "none", 0o000, "", b"")
        .file("none/x", "1")
        .end();
    let rootfs = home.unpack(&[tar]).unwrap();
    let of = |name: &str| rootfs.path().join(name).symlink_metadata().unwrap();
    assert_eq!(of("ro/su").permissions().mode() & 0o7777, 0o755);
    assert_eq!(of("ro").permissions().mode() & 0o7777, 0o555);
    assert_eq!(of("t").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(of("tmp").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(of("none").permissions().mode() & 0o7777, 0);
    assert_eq!(
        (of("ro/su").uid(), of("ro/su").gid()),
        (1234, 4321),
        "run as root"
    );
    assert_eq!(
        (of("ro/su").mtime(), of("ro").mtime()),
        (1_000_000_000, 1_000_000_000)
    );
    assert_eq!(of(".").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn hard_links_fifos_and_long_names() {
    let home = home();
    let long = "x".repeat(250);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    builder
        .append_pax_extensions([
            ("path", long.as_bytes()),
            ("SCHILY.xattr.security.capability", b"\x01"),
        ])
        .unwrap();
    builder.append(&header, &b"p"[..]).unwrap();
    let pax = builder.into_inner().unwrap();
    let tar = Tar::new()
        .file("a", "1")
        .hard_link("b", "a")
        .hard_link("/c", "./b")
        .hard_link("a", "a")
        .entry(EntryType::Fifo, "pipe", 0o644, "", b"")
        .end();
    let rootfs = home.unpack(&[tar, pax]).unwrap();
    let root = rootfs.path();
    assert_eq!(root.join("a").metadata().unwrap().nlink(), 3);
    assert!(!root.join("pipe").exists());
    assert!(root.join(&long).is_file());
    let listed = rustix::fs::listxattr(root.join(&long), &mut [0_u8; 256][..]).unwrap();
    assert_eq!(listed, 0, "no extended attribute");
}

#[test]
fn an_image_that_uses_a_layer_twice() {
    let home = home();
    let layer = Tar::new().file("a", "1").end();
    let rootfs = home
        .unpack(&[layer.clone(), Tar::new().file(".wh.a", "").end(), layer])
        .unwrap();
    assert!(rootfs.path().join("a").is_file());
}

#[test]
fn a_directory_that_becomes_a_symlink_leads_elsewhere_from_then_on() {
    let home = home();
    let tar = Tar::new()
        .dir("e")
        .dir("d")
        .file("d/a", "1")
        .symlink("d", "e")
        .file("d/x", "2")
        .end();
    let rootfs = home.unpack(&[tar]).unwrap();
    assert_eq!(names(&rootfs.path().join("e")), ["x"]);
}
