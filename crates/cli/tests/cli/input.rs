//! Where the input comes from, and which input is refused.

use std::fs;
use std::process::Stdio;

use crate::process::Running;
use crate::support::{EXAMPLES, Home, PROBE, add_tool, make_fifo, write};

const ECHO: &str = r#"{"op":"echo","from":"here"}"#;

#[test]
fn the_input_comes_from_the_option_a_file_or_standard_input() {
    let home = Home::new();
    let expected = format!("{ECHO}\n");
    let by_option = home.axocoatl(&["run", PROBE, "--input", ECHO]);
    assert_eq!(by_option.succeeds_silently().out(), expected);

    write(
        &home.work().join("in.json"),
        format!("\n {ECHO} \n").as_bytes(),
    );
    let by_file = home.axocoatl(&["run", PROBE, "--input-file", "in.json"]);
    assert_eq!(by_file.succeeds_silently().out(), expected);

    let by_stdin = Running::start(home.command(&["run", PROBE]), ECHO.as_bytes()).end();
    assert_eq!(by_stdin.succeeds_silently().out(), expected);
}

/// What `--input-file <(command)` gives.
#[test]
fn the_input_may_come_from_a_pipe_given_as_a_file() {
    let home = Home::new();
    let fifo = home.work().join("in");
    make_fifo(&fifo);
    let running = home.start(&["run", PROBE, "--input-file", "in"]);
    fs::write(&fifo, ECHO).unwrap();
    assert_eq!(running.end().succeeds_silently().out(), format!("{ECHO}\n"));
}

#[test]
fn an_input_of_several_megabytes_passes_whole() {
    let home = Home::new();
    let text = format!(r#"{{"op":"echo","long":"{}"}}"#, "é".repeat(2 << 20));
    let tool = add_tool(&home.work(), "echo", "[limits]\noutput = \"8MiB\"\n");
    let command = home.command(&["run".as_ref(), tool.as_os_str()]);
    let ended = Running::start(command, text.as_bytes()).end().succeeds();
    assert!(
        ended.out().trim_end() == text,
        "{} bytes",
        ended.stdout.len()
    );
}

#[test]
fn malformed_input_is_refused_with_its_place_wherever_it_comes_from() {
    let home = Home::new();
    write(&home.work().join("in.json"), b"{\"a\":\n]");
    home.axocoatl(&["run", PROBE, "--input", "{\"a\":"])
        .exits(125, &["--input", "not valid JSON"]);
    home.axocoatl(&["run", PROBE, "--input-file", "in.json"])
        .exits(125, &["in.json", "not valid JSON", "line 2"]);
    Running::start(home.command(&["run", PROBE]), b"{} {}")
        .end()
        .exits(125, &["standard input", "not valid JSON"]);
    Running::start(home.command(&["run", PROBE]), b"\"\xff\"")
        .end()
        .exits(125, &["standard input", "not UTF-8"]);
    Running::start(
        home.command(&["run", PROBE]),
        "[".repeat(100_000).as_bytes(),
    )
    .end()
    .exits(125, &["not valid JSON (at most 127 levels deep)"]);
    assert!(!home.path().join("data").exists(), "nothing has run");
}

#[test]
fn no_input_is_refused_with_the_options_that_give_one() {
    let home = Home::new();
    let hints = [
        "there is no input",
        "--input JSON",
        "--input-file FILE",
        "--input null",
    ];
    home.axocoatl(&["run", PROBE]).exits(125, &hints);
    // On a terminal it is not waited for.
    let mut on_terminal = home.program("script");
    on_terminal.args([
        "-qec",
        &format!("{} run {PROBE}", crate::support::AXOCOATL),
        "/dev/null",
    ]);
    on_terminal.stdin(Stdio::null());
    let ended = Running::start(on_terminal, b"").end();
    assert_eq!(ended.code(), Some(125), "{ended}");
    assert!(ended.out().contains("there is no input"), "{ended}");
}

#[test]
fn an_input_file_that_is_missing_is_our_failure_and_not_a_missing_tool() {
    let home = Home::new();
    home.axocoatl(&["run", PROBE, "--input-file", "absent.json"])
        .exits(125, &["absent.json", "No such file"]);
}

#[test]
fn an_input_that_does_not_fit_the_schema_is_refused_with_place_and_rule() {
    let home = Home::new();
    let tool = format!("{EXAMPLES}/word-count");
    home.axocoatl(&["run", &tool, "--input", r#"{"text":7}"#])
        .exits(125, &["does not fit the tool's schema", "/text", "string"]);
    home.axocoatl(&["run", &tool, "--input", "{}"])
        .exits(125, &["does not fit the tool's schema", "\"text\""]);
}

#[test]
fn an_input_that_is_too_large_or_endless_is_refused() {
    let home = Home::new();
    let large = fs::File::create(home.work().join("large.json")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    for file in ["large.json", "/dev/zero"] {
        home.axocoatl(&["run", PROBE, "--input-file", file])
            .exits(125, &[file, "more than 67108864 bytes"]);
    }
}

#[test]
fn an_output_that_does_not_fit_the_schema_is_an_error_and_json_carries_the_outcome() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "checked", "[schema]\noutput = \"out.json\"\n");
    write(&tool.join("out.json"), br#"{"required":["answer"]}"#);
    let tool = tool.to_str().unwrap();
    let ended = home
        .axocoatl(&["run", tool, "--input", ECHO, "--json"])
        .exits(
            125,
            &[
                "the output of tool checked breaks its contract",
                "\"answer\"",
            ],
        );
    assert_eq!(ended.json()["outcome"]["stdout"], ECHO);
}

#[test]
fn an_output_other_than_the_manifest_pins_is_an_error() {
    let home = Home::new();
    let json = add_tool(&home.work(), "json", "output = \"json\"\n");
    home.axocoatl(&["run", json.to_str().unwrap(), "--input", r#"{"op":"text"}"#])
        .exits(125, &["the manifest promises JSON"]);
    let file = add_tool(&home.work(), "file", "output = \"file\"\n");
    home.axocoatl(&["run", file.to_str().unwrap(), "--input", ECHO])
        .exits(125, &["wrote no /axocoatl/output.json"]);
    home.axocoatl(&[
        "run",
        PROBE,
        "--input",
        r#"{"op":"output_file_big","bytes":1500000}"#,
    ])
    .exits(125, &["/axocoatl/output.json was refused"]);
}
