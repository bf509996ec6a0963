//! `run`: how a tool is named, and what comes back.

use std::fs;

use crate::support::{EXAMPLES, Home, PROBE, add_tool, write};

const ECHO: &str = r#"{"op":"echo"}"#;

/// The crate this project replaces ran the tool and then returned the input's name for it.
#[test]
fn regression_the_tools_output_is_returned_and_not_dropped() {
    let home = Home::new();
    let input = r#"{"text":"b a c b a b","top":1}"#;
    let tool = format!("{EXAMPLES}/word-count");
    let output = home
        .axocoatl(&["run", &tool, "--input", input])
        .succeeds_silently()
        .json();
    assert_eq!(output["words"], 6);
    assert_eq!(output["top"][0]["count"], 3);
}

#[test]
fn a_tool_runs_by_its_directory_whatever_that_is_called() {
    let home = Home::new();
    let directory = add_tool(&home.work(), "given", "");
    let other = home.work().join("another name");
    fs::rename(directory, &other).unwrap();
    for name in [other.to_str().unwrap(), "./another name", "./another name/"] {
        home.axocoatl(&["run", name, "--input", ECHO])
            .succeeds_silently();
    }
}

#[test]
fn a_tool_runs_by_name_from_the_project_the_working_directory_lies_in() {
    let home = Home::new();
    add_tool(&home.project_tools(), "mine", "");
    let deep = home.work().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let mut command = home.command(&["run", "mine", "--input", ECHO]);
    command.current_dir(&deep);
    let ended = crate::process::Running::start(command, b"").end();
    assert_eq!(ended.succeeds_silently().out(), format!("{ECHO}\n"));
}

#[test]
fn a_tool_runs_by_name_from_the_users_directory() {
    let home = Home::new();
    add_tool(&home.user_tools(), "mine", "");
    let ended = home.axocoatl(&["run", "mine", "--input", ECHO]);
    assert_eq!(ended.succeeds_silently().out(), format!("{ECHO}\n"));
}

#[test]
fn a_bare_program_runs_from_its_binary_and_from_its_text() {
    let home = Home::new();
    let ended = home.axocoatl(&["run", PROBE, "--input", ECHO]);
    assert_eq!(ended.succeeds_silently().out(), format!("{ECHO}\n"));
    let text = format!("{EXAMPLES}/slugify/slugify.wat");
    let ended = home.axocoatl(&["run", &text, "--input", "\"Hello World\""]);
    assert_eq!(ended.succeeds_silently().out(), "\"hello-world\"\n");
}

#[test]
fn a_bare_program_in_the_working_directory_needs_no_slash() {
    let home = Home::new();
    fs::copy(PROBE, home.work().join("Probe 2.wasm")).unwrap();
    let ended = home.axocoatl(&["run", "Probe 2.wasm", "--input", ECHO]);
    assert_eq!(ended.succeeds_silently().out(), format!("{ECHO}\n"));
}

/// Or a cloned repository could slip its own program under a name the user trusts.
#[test]
fn a_directory_of_the_working_directory_does_not_pass_for_a_tool_of_that_name() {
    let home = Home::new();
    add_tool(&home.work(), "mine", "");
    home.axocoatl(&["run", "mine", "--input", ECHO])
        .exits(127, &["there is no tool mine"]);
}

#[test]
fn the_output_passes_unchanged() {
    let home = Home::new();
    // Order of keys, a number of 30 digits, trailing zeros, white space, escapes, a repeated key.
    let text =
        r#"{"op":"echo", "z":123456789012345678901234567890,"a":1.10e0 ,"t":"\u00e9é\/","z":-0.0}"#;
    let ended = home.probe(text, &[]).succeeds_silently();
    assert_eq!(ended.out(), format!("{text}\n"));
}

#[test]
fn the_output_passes_unchanged_in_the_json_outcome() {
    let home = Home::new();
    let text = r#"{"op":"echo","z":123456789012345678901234567890,"a":1.10}"#;
    let ended = home.probe(text, &["--json"]).succeeds();
    assert!(ended.out().contains(text), "{ended}");
}

#[test]
fn text_that_is_no_json_comes_back_as_one_json_string() {
    let home = Home::new();
    let ended = home.probe(r#"{"op":"text"}"#, &[]).succeeds();
    assert_eq!(ended.json(), "plain text, not JSON\n");
}

#[test]
fn the_output_file_goes_before_standard_output() {
    let home = Home::new();
    let ended = home.probe(r#"{"op":"output_file"}"#, &[]).succeeds();
    assert_eq!(ended.out(), "{\"from\":\"file\"}\n");
}

#[test]
fn the_tools_log_goes_to_standard_error_and_nowhere_else() {
    let home = Home::new();
    let ended = home.probe(r#"{"op":"stderr","text":"a log\nof two lines"}"#, &[]);
    assert_eq!(ended.err(), "a log\nof two lines\n");
    assert_eq!(ended.succeeds().out(), "{\"ok\":true}\n");
}

#[test]
fn a_mount_shows_a_host_directory_read_only_unless_it_says_rw() {
    let home = Home::new();
    let data = home.work().join("data");
    write(&data.join("in.txt"), b"from the host");
    let read = r#"{"op":"read","path":"/data/in.txt"}"#;
    let write = r#"{"op":"write","path":"/data/out.txt","text":"from the tool"}"#;

    home.probe(read, &[]).succeeds().json()["error"]
        .as_str()
        .expect("nothing is mounted unless it is granted");
    let seen = home.probe(read, &["--mount", "./data:/data"]).succeeds();
    assert_eq!(seen.json()["text"], "from the host");
    let refused = home
        .probe(write, &["--mount", "./data:/data:ro"])
        .succeeds();
    assert_ne!(refused.json()["errno"], 0);
    assert!(!data.join("out.txt").exists());
    let written = home
        .probe(write, &["--mount", "./data:/data:rw"])
        .succeeds();
    assert_eq!(written.json()["errno"], 0);
    assert_eq!(fs::read(data.join("out.txt")).unwrap(), b"from the tool");
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let home = Home::new();
    for arguments in [
        vec!["run", PROBE, "--input", ECHO],
        vec!["run", PROBE, "--input", ECHO, "--json"],
        vec!["tool", "ls"],
    ] {
        let mut shell = home.program("sh");
        shell
            .args([
                "-c",
                "exec \"$@\" >/dev/full",
                "sh",
                crate::support::AXOCOATL,
            ])
            .args(&arguments);
        crate::process::Running::start(shell, b"")
            .end()
            .exits(125, &["standard output"]);
    }
}
