//! `image pull`: an image comes from its registry.

use std::fs;

use axocoatl_isolation::images::Platform;
use serde_json::json;

use crate::containers::{Tar, make_layout};
use crate::registry::Registry;
use crate::support::{Home, entries};
use crate::terminal::on_terminal;

/// A registry with BusyBox, and the digest of its image.
fn registry(home: &Home) -> (Registry, String) {
    let layout = home.work().join("layout");
    let host = Platform::host().architecture;
    let digest = make_layout(&layout, &Tar::root().end(), &host, &json!({"Cmd": ["cat"]}));
    (Registry::serve(&layout, &digest), digest)
}

#[test]
fn a_pulled_image_runs_and_is_not_fetched_twice() {
    let home = Home::new();
    let (registry, digest) = registry(&home);
    let name = registry.reference("1");
    let pull = ["image", "pull", &name, "--insecure-http", "--json"];
    let pulled = home.axocoatl(&pull).succeeds_silently().json();
    assert_eq!(pulled["digest"], digest);
    assert_eq!(pulled["references"], json!([name]));
    assert_eq!(registry.blobs_asked(), 2, "configuration and layer");
    let again = home.axocoatl(&pull[..4]).succeeds_silently();
    assert!(
        again.out().starts_with(&format!("pulled {name} {digest}")),
        "{again}"
    );
    assert_eq!(registry.blobs_asked(), 2, "they are here already");

    let ended = home.axocoatl(&["run", "--image", &name, "--input", "[1]"]);
    assert_eq!(ended.succeeds_silently().out(), "[1]\n");
    let pinned = format!("{name}@{digest}");
    home.axocoatl(&["image", "pull", &pinned, "--insecure-http"])
        .succeeds_silently();
}

#[test]
fn a_pull_on_a_terminal_has_bars() {
    let home = Home::new();
    let (registry, _) = registry(&home);
    let name = registry.reference("1");
    let seen = on_terminal(&home, &["image", "pull", &name, "--insecure-http"]);
    assert!(seen.out().contains("\u{1b}["), "no bar was drawn: {seen}");
    seen.succeeds();
}

#[test]
fn what_the_registry_does_not_have_is_127() {
    let home = Home::new();
    let (registry, _) = registry(&home);
    let name = registry.reference("2");
    let ended = home
        .axocoatl(&["image", "pull", &name, "--insecure-http", "--json"])
        .exits(127, &["has no image", "check its name and tag"]);
    assert_eq!(ended.json()["error"]["exit_code"], 127);
}

#[test]
fn without_tls_only_when_asked() {
    let home = Home::new();
    let (registry, _) = registry(&home);
    home.axocoatl(&["image", "pull", &registry.reference("1")])
        .exits(
            125,
            &[
                "registry 127.0.0.1:",
                "answers without TLS",
                "--insecure-http",
            ],
        );
    assert_eq!(registry.blobs_asked(), 0);
}

#[test]
fn bytes_that_are_not_what_was_announced_are_refused() {
    let home = Home::new();
    let (registry, _) = registry(&home);
    let blobs = home.work().join("layout/blobs/sha256");
    for blob in entries(&blobs) {
        let mut bytes = fs::read(&blob).unwrap();
        if bytes.len() > 1 << 20 {
            bytes[1 << 20] ^= 1;
            fs::write(&blob, bytes).unwrap();
        }
    }
    let name = registry.reference("1");
    home.axocoatl(&["image", "pull", &name, "--insecure-http"])
        .exits(125, &["is not what was announced", "sha256:"]);
    home.axocoatl(&["image", "show", &name]).exits(127, &[]);
    home.axocoatl(&["image", "gc"]).succeeds_silently();
    let left = entries(&home.path().join("data/images/blobs/sha256"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_trusted_image_is_pulled_by_the_call_that_needs_it() {
    let home = Home::new();
    let (registry, _) = registry(&home);
    let name = registry.reference("1");
    home.policy(&format!(
        "trusted_images = [{:?}]\n",
        name.replace(":1", ":*")
    ));
    // A registry that is not spoken to without TLS: that it is asked at all shows the pattern works.
    home.axocoatl(&["run", "--image", &name, "--input", "1"])
        .exits(125, &["registry 127.0.0.1:"]);
}
