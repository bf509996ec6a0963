//! `tool rm`: only the user's own tools, and nothing else of the user's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Home, add_tool, write};

const ECHO: &str = r#"{"op":"echo"}"#;

#[test]
fn a_removed_tool_is_gone() {
    let home = Home::new();
    let tool = add_tool(&home.user_tools(), "gone", "");
    let removed = home
        .axocoatl(&["tool", "rm", "gone", "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(removed, serde_json::json!({"removed": tool}));
    assert!(!tool.exists());
    home.axocoatl(&["run", "gone", "--input", ECHO])
        .exits(127, &[]);
}

#[test]
fn removing_a_tool_that_is_not_there_is_127() {
    let home = Home::new();
    add_tool(&home.project_tools(), "projects", "");
    for name in ["absent", "projects"] {
        home.axocoatl(&["tool", "rm", name])
            .exits(127, &[&format!("there is no tool {name}")]);
    }
    assert!(
        home.project_tools().join("projects").exists(),
        "only the user's own are removed"
    );
}

#[test]
fn removing_a_link_leaves_what_it_points_to() {
    let home = Home::new();
    let outside = add_tool(&home.work(), "linked", "");
    fs::create_dir_all(home.user_tools()).unwrap();
    symlink(&outside, home.user_tools().join("linked")).unwrap();
    home.axocoatl(&["tool", "rm", "linked"]);
    assert!(outside.join("tool.toml").exists());
}

#[test]
fn a_removal_that_fails_says_that_it_was_a_removal() {
    let home = Home::new();
    write(&home.user_tools().join("odd"), b"no directory");
    let ended = home
        .axocoatl(&["tool", "rm", "odd"])
        .exits(125, &["removing", "tools/odd"]);
    assert!(!ended.err().contains("copying"), "{ended}");
}
