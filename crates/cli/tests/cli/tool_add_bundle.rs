//! `tool add` of bundles: a root file system has links, and users who are others.

use std::fs;
use std::os::unix::fs::symlink;

use crate::containers::{add_bundle_tool, make_bundle};
use crate::support::{Home, entries, make_fifo, mode};

#[test]
fn an_added_bundle_runs_without_its_source() {
    let home = Home::new();
    let source = add_bundle_tool(&home.work(), "bundled", &["cat"], "");
    home.axocoatl(&["tool", "add", "bundled"])
        .succeeds_silently();
    fs::remove_dir_all(&source).unwrap();
    let ended = home.axocoatl(&["run", "bundled", "--input", "[1]"]);
    assert_eq!(ended.succeeds_silently().out(), "[1]\n");
    let copy = home.user_tools().join("bundled");
    assert_eq!(mode(&copy), 0o700, "nobody else gets to its files");
    assert_eq!(mode(&copy.join("bundle/rootfs/bin")), 0o755);
    let link = fs::read_link(copy.join("bundle/rootfs/bin/cat")).unwrap();
    assert_eq!(link.to_str(), Some("busybox"));
}

#[test]
fn a_link_or_a_fifo_outside_its_root_file_system_is_not_added() {
    let home = Home::new();
    let source = add_bundle_tool(&home.work(), "bundled", &["cat"], "");
    for place in ["link", "bundle/link"] {
        symlink("/etc/passwd", source.join(place)).unwrap();
        home.axocoatl(&["tool", "add", "bundled"])
            .exits(125, &[place, "cannot be copied", "no links or devices"]);
        fs::remove_file(source.join(place)).unwrap();
    }
    make_fifo(&source.join("bundle/rootfs/fifo"));
    home.axocoatl(&["tool", "add", "bundled"])
        .exits(125, &["rootfs/fifo", "cannot be copied"]);
    assert!(entries(&home.user_tools()).is_empty());
}

#[test]
fn a_bare_bundle_is_not_added_and_the_message_says_what_is_missing() {
    let home = Home::new();
    make_bundle(&home.work().join("bare"), &["cat"]);
    home.axocoatl(&["tool", "add", "bare"])
        .exits(125, &["bare", "tool.toml", "bundle = \".\""]);
    assert!(entries(&home.user_tools()).is_empty());
}

#[test]
fn a_broken_bundle_is_not_added() {
    let home = Home::new();
    let source = add_bundle_tool(&home.work(), "bundled", &["absent"], "");
    home.axocoatl(&["tool", "add", "bundled"])
        .exits(125, &["is not in its root file system"]);
    assert!(source.exists());
    assert!(entries(&home.user_tools()).is_empty());
}
