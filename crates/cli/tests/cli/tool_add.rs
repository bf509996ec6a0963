//! `tool add`: a tool becomes the user's own, whole or not at all.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::support::{Home, add_tool, entries, make_fifo, write};

const ECHO: &str = r#"{"op":"echo"}"#;

#[test]
fn an_added_tool_runs_by_name_without_its_source() {
    let home = Home::new();
    let source = add_tool(&home.work(), "added", "");
    write(&source.join("data/deep/file"), b"content");
    let added = home
        .axocoatl(&["tool", "add", "added", "--json"])
        .succeeds_silently()
        .json();
    let place = home.user_tools().join("added");
    assert_eq!(
        added,
        serde_json::json!({"tool": "added", "directory": place})
    );
    fs::remove_dir_all(&source).unwrap();
    let ended = home.axocoatl(&["run", "added", "--input", ECHO]);
    assert_eq!(ended.succeeds_silently().out(), format!("{ECHO}\n"));
    assert_eq!(fs::read(place.join("data/deep/file")).unwrap(), b"content");
}

#[test]
fn a_tool_is_added_under_its_own_name_whatever_its_directory_is_called() {
    let home = Home::new();
    let source = add_tool(&home.work(), "inner", "");
    fs::rename(&source, home.work().join("some directory")).unwrap();
    let added = home
        .axocoatl(&["tool", "add", "some directory"])
        .succeeds_silently();
    assert!(added.out().contains("added tool inner"), "{added}");
    home.axocoatl(&["run", "inner", "--input", ECHO])
        .succeeds_silently();
}

#[test]
fn a_tool_that_is_there_already_is_not_replaced() {
    let home = Home::new();
    add_tool(&home.work(), "added", "");
    home.axocoatl(&["tool", "add", "added"]).succeeds_silently();
    let before = fs::read(home.user_tools().join("added/tool.toml")).unwrap();
    add_tool(&home.work(), "added", "[limits]\nwall = \"1s\"\n");
    home.axocoatl(&["tool", "add", "added"]).exits(
        125,
        &["there is a tool added already", "axocoatl tool rm added"],
    );
    assert_eq!(
        fs::read(home.user_tools().join("added/tool.toml")).unwrap(),
        before
    );
    assert_eq!(entries(&home.user_tools()).len(), 1);
}

#[test]
fn a_directory_with_a_link_or_a_fifo_in_it_is_not_added() {
    let home = Home::new();
    let source = add_tool(&home.work(), "odd", "");
    let inside = source.join("data/odd");
    fs::create_dir(source.join("data")).unwrap();
    for make in [
        (|path| symlink("/etc/passwd", path).unwrap()) as fn(&std::path::Path),
        |path| symlink("../tool.toml", path).unwrap(),
        make_fifo,
    ] {
        make(&inside);
        home.axocoatl(&["tool", "add", "odd"]).exits(
            125,
            &["odd/data/odd cannot be copied", "no links or devices"],
        );
        assert!(entries(&home.user_tools()).is_empty(), "something is left");
        fs::remove_file(&inside).unwrap();
    }
}

#[test]
fn a_broken_tool_is_not_added_and_one_for_another_host_is() {
    let home = Home::new();
    let source = add_tool(&home.work(), "tool", "");
    write(&source.join("tool.wasm"), b"no program");
    home.axocoatl(&["tool", "add", "tool"])
        .exits(125, &["neither WebAssembly"]);
    assert!(entries(&home.user_tools()).is_empty());
    add_tool(
        &home.work(),
        "strong",
        "[isolation]\nmin_tier = \"microvm\"\n",
    );
    home.axocoatl(&["tool", "add", "strong"])
        .succeeds_silently();
}

#[test]
fn adding_the_same_tool_at_once_succeeds_once() {
    let home = Home::new();
    let source = add_tool(&home.work(), "added", "");
    write(&source.join("data"), &vec![7; 4 << 20]);
    let running: Vec<_> = (0..4)
        .map(|_| home.start(&["tool", "add", "added"]))
        .collect();
    let codes: Vec<_> = running
        .into_iter()
        .map(|running| running.end().code())
        .collect();
    assert_eq!(
        codes.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|code| **code == Some(125)).count(),
        3,
        "{codes:?}"
    );
    assert_eq!(
        entries(&home.user_tools()),
        [home.user_tools().join("added")]
    );
    assert_eq!(
        fs::read(home.user_tools().join("added/data"))
            .unwrap()
            .len(),
        4 << 20
    );
}

/// What is copied is renamed when it is whole, and is no tool before.
#[test]
fn a_killed_add_leaves_no_tool() {
    let home = Home::new();
    let source = add_tool(&home.work(), "added", "");
    for n in 0..4000 {
        write(&source.join(format!("data/{n}")), b"content");
    }
    let mut adding = home.start(&["tool", "add", "added"]);
    adding.wait_for("the copy", || entries(&home.user_tools()).pop());
    adding.signal(Signal::KILL);
    assert_eq!(
        adding.end().signal(),
        Some(9),
        "it was done before it was killed"
    );
    assert!(!home.user_tools().join("added").exists());

    // The files are copied in any order; a moment later the manifest is there too.
    for left in entries(&home.user_tools()) {
        fs::copy(source.join("tool.toml"), left.join("tool.toml")).unwrap();
    }
    let tools = home
        .axocoatl(&["tool", "ls", "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(tools, serde_json::json!({"tools": []}));
    home.axocoatl(&["tool", "add", "added"]).succeeds_silently();
    let copied = entries(&home.user_tools().join("added/data"));
    assert_eq!(copied.len(), 4000);
}
