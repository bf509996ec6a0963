//! What a tool writes cannot act on a terminal, and passes unchanged where there is none.

use crate::ended::Ended;
use crate::process::Running;
use crate::support::{AXOCOATL, Home, PROBE, add_tool, write};

/// Clears the screen, sets the title, sets the clipboard; and what it looks like as text.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}]52;c;ZXZpbA==\u{7}";
const PLAIN: &str = "\\u001b[2J\\u001b]0;owned\\u0007\\u001b]52;c;ZXZpbA==\\u0007";

/// Runs the command on a terminal; its standard output and error come back as one.
pub(crate) fn on_terminal(home: &Home, arguments: &[&str]) -> Ended {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let words: Vec<_> = [AXOCOATL]
        .iter()
        .chain(arguments)
        .map(|word| quote(word))
        .collect();
    let mut script = home.program("script");
    script.env("TERM", "xterm");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    Running::start(script, b"").end()
}

#[track_caller]
pub(crate) fn is_neutralised(ended: &Ended, shown: &str) {
    let text = ended.out();
    assert!(text.contains(shown), "{shown:?} is not shown: {text:?}");
    for active in ["\u{1b}[2J", "\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}"] {
        assert!(
            !text.contains(active),
            "{active:?} reached the terminal: {text:?}"
        );
    }
}

fn log_input(text: &str) -> String {
    serde_json::json!({"op": "stderr", "text": text}).to_string()
}

#[test]
fn escapes_in_the_log_are_neutralised_on_a_terminal() {
    let home = Home::new();
    let ended = on_terminal(&home, &["run", PROBE, "--input", &log_input(HOSTILE)]);
    is_neutralised(&ended, PLAIN);
    ended.succeeds();
}

#[test]
fn escapes_in_the_log_pass_unchanged_through_a_pipe() {
    let home = Home::new();
    let ended = home.probe(&log_input(HOSTILE), &[]).succeeds();
    assert_eq!(ended.err(), format!("{HOSTILE}\n"));
}

/// JSON may hold these as they are; terminals act on the first, and the second reorders text.
#[test]
fn control_characters_in_the_output_are_neutralised_on_a_terminal_only() {
    let home = Home::new();
    let input = "{\"op\":\"echo\",\"t\":\"\u{9b}2J\u{202e}x\u{7f}\"}";
    let ended = on_terminal(&home, &["run", PROBE, "--input", input]);
    is_neutralised(&ended, "\\u009b2J\\u202ex\\u007f");
    ended.succeeds();
    assert_eq!(
        home.probe(input, &[]).succeeds().out(),
        format!("{input}\n")
    );
}

#[test]
fn control_characters_pass_unchanged_through_json() {
    let home = Home::new();
    let text = "\u{9b}2J\u{202e}x\u{7f}y\u{1b}[31mz\u{90}";
    let input = format!("{{\"op\":\"echo\",\"t\":{}}}", serde_json::json!(text));
    let outcome = home.probe(&input, &["--json"]).succeeds().json();
    assert_eq!(outcome["output"]["t"], text);
    let outcome = home.probe(&log_input(text), &["--json"]).succeeds().json();
    assert_eq!(outcome["stderr"], text);
}

#[test]
fn text_output_is_json_and_so_has_no_escapes() {
    let home = Home::new();
    let tool = home.work().join("t.wat");
    // Writes ESC [ 2 J.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\04\00\00\00")
        (data (i32.const 16) "\1b[2J")
        (func (export "_start")
            (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    write(&tool, text.as_bytes());
    let ended = on_terminal(&home, &["run", "t.wat", "--input", "null"]);
    is_neutralised(&ended, "\"\\u001b[2J\"");
    let piped = home
        .axocoatl(&["run", "t.wat", "--input", "null"])
        .succeeds();
    assert_eq!(piped.out(), "\"\\u001b[2J\"\n");
}

/// Names of functions are the program's, of any length, once a frame: they are not told.
#[test]
fn the_names_of_functions_are_not_in_the_message_of_a_trap() {
    let home = Home::new();
    let text = r#"(module (func $"\1b]0;owned\07" unreachable)
        (func (export "_start") call $"\1b]0;owned\07"))"#;
    write(&home.work().join("t.wat"), text.as_bytes());
    let ended = home.axocoatl(&["run", "t.wat", "--input", "null"]);
    assert!(!ended.err().contains("owned"), "{ended}");
    ended.exits(134, &["unreachable"]);
}

#[test]
fn escapes_in_a_manifest_are_neutralised() {
    let home = Home::new();
    let tool = add_tool(&home.user_tools(), "shown", "");
    let manifest = "\"\\u001b]0;owned\\u0007\" = 1\nname = \"shown\"\n";
    write(&tool.join("tool.toml"), manifest.as_bytes());
    let ended = on_terminal(&home, &["run", "shown", "--input", "1"]);
    is_neutralised(&ended, "\\u001b]0;owned\\u0007");
    ended.exits(125, &[]);
    let ended = on_terminal(&home, &["tool", "ls"]);
    is_neutralised(&ended, "\\u001b]0;owned\\u0007");
    ended.exits(1, &[]);
}

/// It would stand in lists, and before a model.
#[test]
fn a_description_with_control_characters_is_refused_or_neutralised() {
    let home = Home::new();
    let tool = add_tool(&home.user_tools(), "shown", "");
    let cases = [
        ("\\u001b]0;owned\\u0007", "control characters"),
        ("\\u202E", "\\u202e"),
    ];
    for (description, shown) in cases {
        let manifest = format!(
            "name = \"shown\"\ndescription = \"{description}\"\n[run]\nwasm = \"tool.wasm\"\n"
        );
        write(&tool.join("tool.toml"), manifest.as_bytes());
        for arguments in [&["tool", "ls"][..], &["tool", "show", "shown"]] {
            is_neutralised(&on_terminal(&home, arguments), shown);
        }
    }
}

#[test]
fn escapes_in_an_argument_are_neutralised() {
    let home = Home::new();
    let ended = on_terminal(&home, &["run", "./\u{1b}]0;owned\u{7}", "--input", "1"]);
    is_neutralised(&ended, "\\u001b]0;owned\\u0007");
    ended.exits(127, &[]);
}

#[test]
fn no_colour_reaches_a_pipe_nor_a_terminal_that_wants_none() {
    let home = Home::new();
    let piped = home
        .axocoatl(&["run", "absent", "--input", "1"])
        .exits(127, &[]);
    assert!(!piped.err().contains('\u{1b}'), "{piped}");
    let coloured = on_terminal(&home, &["run", "absent", "--input", "1"]);
    assert!(
        coloured.out().contains("\u{1b}["),
        "errors are marked on a terminal: {coloured}"
    );
    let mut script = home.program("script");
    script.env("TERM", "xterm");
    script.args([
        "-qec",
        &format!("{AXOCOATL} run absent --input 1"),
        "/dev/null",
    ]);
    script.env("NO_COLOR", "1");
    let plain = Running::start(script, b"").end().exits(127, &[]);
    assert!(!plain.out().contains('\u{1b}'), "{plain}");
}
