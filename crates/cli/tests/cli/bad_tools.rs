//! Tools whose manifest or place is wrong: the message names the file, the line and the key.

use std::fs;
use std::time::Duration;

use crate::support::{Home, add_tool, make_fifo, manifest, write};

const RUN: [&str; 4] = ["run", "./bad", "--input", "{\"op\":\"echo\"}"];

#[test]
fn a_manifest_error_names_file_line_and_key() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "bad", "");
    let file = tool.join("tool.toml");
    let cases = [
        (
            manifest("bad", "[limits]\nmemry = \"1MiB\"\n"),
            ":7: limits.memry: unknown field",
        ),
        ("nam = \"bad\"\n".into(), ":1: nam: unknown field"),
        (
            manifest("bad", "[limits]\nmemory = \"lots\"\n"),
            ":7: limits.memory: ",
        ),
        (
            manifest("bad", "[limits]\nwall = 10\n"),
            ":7: limits.wall: ",
        ),
        (
            manifest("bad", "bundle = \"b\"\n"),
            ":4: run: is ambiguous: keep exactly one of",
        ),
        (
            manifest("bad", "command = [\"sh\"]\n"),
            ":6: run.command: `command` goes with `image` only",
        ),
        (
            "name = \"bad\"\n[run]\n".into(),
            ":2: run: says nothing to run",
        ),
        (
            "name = \"bad\"\n[run]\nwasm = \"../x.wasm\"\n".into(),
            ":3: run.wasm: ",
        ),
        (
            "name = \"bad\"\n[run]\nwasm = \"/x.wasm\"\n".into(),
            ":3: run.wasm: ",
        ),
        (
            "name = \"Bad!\"\n[run]\nwasm = \"x.wasm\"\n".into(),
            ":1: name: ",
        ),
        (
            "name = \"bad\"\nrequires = \"magic\"\n[run]\nwasm = \"x\"\n".into(),
            ":2: requires: ",
        ),
        ("name = \"bad\"\nname = \"bad\"\n".into(), ":2: name: "),
        ("[run\n".into(), ":1: "),
    ];
    for (text, problem) in cases {
        write(&file, text.as_bytes());
        // The path as it was given is made absolute, so it may have a `./` in it.
        let ended = home
            .axocoatl(&RUN)
            .exits(125, &[&format!("bad/tool.toml{problem}")]);
        assert!(
            ended.err().contains(home.work().to_str().unwrap()),
            "{ended}"
        );
    }
}

#[test]
fn a_tool_whose_name_is_not_its_directorys_is_refused_by_name() {
    let home = Home::new();
    let tool = add_tool(&home.user_tools(), "inner", "");
    fs::rename(&tool, home.user_tools().join("outer")).unwrap();
    home.axocoatl(&["run", "outer", "--input", "1"])
        .exits(125, &["outer", "calls itself inner", "rename one"]);
    home.axocoatl(&["run", "inner", "--input", "1"])
        .exits(127, &["there is no tool inner"]);
}

#[test]
fn a_name_in_project_and_user_directory_is_an_error_that_names_both() {
    let home = Home::new();
    let one = add_tool(&home.project_tools(), "twice", "");
    let two = add_tool(&home.user_tools(), "twice", "");
    let phrases = [
        "tool twice exists more than once",
        one.to_str().unwrap(),
        two.to_str().unwrap(),
        "remove or rename all but one",
    ];
    home.axocoatl(&["run", "twice", "--input", "1"])
        .exits(125, &phrases);
    home.axocoatl(&["tool", "show", "twice"])
        .exits(125, &phrases);
    // By its directory it is meant beyond doubt.
    home.axocoatl(&["run", one.to_str().unwrap(), "--input", "{\"op\":\"echo\"}"])
        .succeeds_silently();
}

#[test]
fn a_command_of_the_policy_does_not_hide_a_tool_of_its_name() {
    let home = Home::new();
    add_tool(&home.user_tools(), "twice", "");
    home.policy("[native.twice]\ncommand = [\"/bin/cat\"]\n");
    home.axocoatl(&["run", "twice", "--input", "1"])
        .exits(125, &["tool twice exists more than once"]);
}

#[test]
fn a_manifest_that_is_a_directory_is_an_error_and_no_absence() {
    let home = Home::new();
    fs::create_dir_all(home.user_tools().join("odd/tool.toml")).unwrap();
    home.axocoatl(&["run", "odd", "--input", "1"]).exits(
        125,
        &[
            "reading",
            "odd/tool.toml",
            "check that it exists and may be read",
        ],
    );
}

#[test]
fn a_manifest_that_is_a_fifo_is_not_waited_for() {
    let home = Home::new();
    let tool = home.user_tools().join("odd");
    fs::create_dir_all(&tool).unwrap();
    make_fifo(&tool.join("tool.toml"));
    for arguments in [
        &["run", "odd", "--input", "1"][..],
        &["tool", "show", "odd"],
    ] {
        home.start(arguments)
            .end_within(Duration::from_secs(10))
            .exits(125, &["odd/tool.toml", "not a regular file"]);
    }
    home.start(&["tool", "ls"])
        .end_within(Duration::from_secs(10))
        .exits(1, &[]);
}

#[test]
fn a_manifest_that_is_endless_is_refused() {
    let home = Home::new();
    let tool = home.user_tools().join("odd");
    fs::create_dir_all(&tool).unwrap();
    let manifest = tool.join("tool.toml");
    fs::File::create(&manifest)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    home.axocoatl(&["run", "odd", "--input", "1"])
        .exits(125, &["odd/tool.toml", "more than 1048576 bytes"]);
    fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
    home.axocoatl(&["run", "odd", "--input", "1"])
        .exits(125, &["odd/tool.toml", "not a regular file"]);
}

#[test]
fn a_schema_that_is_bad_or_missing_is_named() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "bad", "[schema]\ninput = \"in.json\"\n");
    let schema = tool.join("in.json");
    home.axocoatl(&RUN).exits(
        125,
        &["tool bad has a bad schema", "in.json", "cannot be read"],
    );
    for text in [
        "{",
        "{\"type\":\"no-such-type\"}",
        "{\"$ref\":\"https://example.com/s\"}",
    ] {
        fs::write(&schema, text).unwrap();
        home.axocoatl(&RUN)
            .exits(125, &["tool bad has a bad schema", "in.json is not usable"]);
    }
}

#[test]
fn a_schema_that_is_a_fifo_is_not_waited_for() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "bad", "[schema]\ninput = \"in.json\"\n");
    make_fifo(&tool.join("in.json"));
    home.start(&RUN)
        .end_within(Duration::from_secs(10))
        .exits(125, &["in.json", "not a regular file"]);
}
