//! The audit log: one record a call, whatever it came to.

use std::process::Stdio;

use serde_json::Value;

use crate::process::wait_for;
use crate::support::{EXAMPLES, Home, PROBE, add_tool, mode};

const ECHO: &str = r#"{"op":"echo"}"#;

#[test]
fn a_call_is_one_record_with_the_identity_of_its_outcome() {
    let home = Home::new();
    let outcome = home.probe(ECHO, &["--json"]).succeeds().json();
    let records = home.audit();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert!(outcome["call_id"].is_string());
    for key in ["call_id", "tool", "tier", "digest", "exit_code"] {
        assert_eq!(record[key], outcome[key], "{key}");
    }
    assert_eq!(record["result"], "ran");
    assert_eq!(record["termination"], "exited");
    assert_eq!(record["input_bytes"], ECHO.len());
    assert_eq!(record["output_bytes"], ECHO.len());
    assert_eq!(record["wall_us"], outcome["usage"]["wall_us"]);
}

#[test]
fn refused_and_failed_calls_are_records_too() {
    let home = Home::new();
    let word_count = format!("{EXAMPLES}/word-count");
    home.probe(r#"{"op":"exit","code":3}"#, &[]).exits(3, &[]);
    home.probe(ECHO, &["--tier", "microvm"]).exits(126, &[]);
    home.axocoatl(&["run", &word_count, "--input", "{}"])
        .exits(125, &[]);
    home.probe(r#"{"op":"spin"}"#, &["--timeout", "100ms"])
        .exits(124, &[]);
    home.probe(r#"{"op":"output_file_big","bytes":1500000}"#, &[])
        .exits(125, &[]);
    home.probe(ECHO, &["--net", "a.example:1"]).exits(126, &[]);
    home.axocoatl(&["run", "absent", "--input", ECHO])
        .exits(127, &[]);
    let records = home.audit();
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or("-").to_owned();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (
                text(record, "result"),
                text(record, "tool"),
                text(record, "termination"),
            )
        })
        .collect();
    let expected = [
        ("ran", "probe", "exited"),
        ("refused", "probe", "-"),
        ("failed", "word-count", "-"),
        ("ran", "probe", "timed-out"),
        ("failed", "probe", "exited"),
        ("refused", "probe", "-"),
        ("failed", "absent", "-"),
    ]
    .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(seen, expected);
    assert_eq!(records[0]["exit_code"], 3);
    for (at, phrase) in [
        (1, "no tier"),
        (2, "does not fit"),
        (4, "breaks its contract"),
        (5, "network"),
    ] {
        assert!(
            text(&records[at], "error").contains(phrase),
            "{}",
            records[at]
        );
    }
    let ids: std::collections::HashSet<_> = records.iter().map(|r| text(r, "call_id")).collect();
    assert_eq!(
        ids.len(),
        records.len(),
        "every call has an identity of its own"
    );
}

#[test]
fn the_log_is_its_owners_alone_and_holds_no_input_or_output() {
    let home = Home::new();
    home.probe(
        r#"{"op":"stderr","text":"canary sings"}"#,
        &["--env", "K=canary sings"],
    )
    .succeeds();
    assert_eq!(mode(&home.audit_log()), 0o600);
    let text = std::fs::read_to_string(home.audit_log()).unwrap();
    assert!(!text.contains("canary sings"), "{text}");
}

#[test]
fn a_refusal_cannot_write_lines_of_its_own() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "odd", "[schema]\ninput = \"in.json\"\n");
    let schema = br#"{"properties":{"a\n{\"result\":\"ran\"}":{"type":"string"}}}"#;
    std::fs::write(tool.join("in.json"), schema).unwrap();
    let input = r#"{"a\n{\"result\":\"ran\"}":1}"#;
    home.axocoatl(&["run", tool.to_str().unwrap(), "--input", input])
        .exits(125, &[]);
    assert_eq!(home.audit().len(), 1);
}

#[test]
fn calls_of_many_processes_at_once_are_whole_records() {
    let home = Home::new();
    let running: Vec<_> = (0..8)
        .map(|_| home.start(&["run", PROBE, "--input", ECHO]))
        .collect();
    for running in running {
        running.end().succeeds();
    }
    assert_eq!(home.audit().len(), 8);
}

#[test]
fn checking_and_showing_a_tool_is_no_call() {
    let home = Home::new();
    home.axocoatl(&["tool", "check", PROBE]).succeeds();
    home.axocoatl(&["tool", "show", PROBE]).succeeds();
    home.axocoatl(&["tiers"]).succeeds();
    home.axocoatl(&["doctor"]).succeeds();
    assert!(!home.audit_log().exists());
}

#[test]
fn the_record_is_written_before_the_outcome_is_told() {
    let home = Home::new();
    // Its output is a pipe that nobody reads yet, and more than a pipe holds.
    let input = format!(r#"{{"op":"echo","x":"{}"}}"#, "x".repeat(100_000));
    let mut command = home.command(&["run", PROBE, "--input", &input]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let record = wait_for("the record", || {
        let text = std::fs::read_to_string(home.audit_log()).ok()?;
        text.ends_with('\n').then_some(text)
    });
    assert!(record.contains("\"result\":\"ran\""), "{record}");
    assert!(child.try_wait().unwrap().is_none(), "it told nobody");
    drop(child.stdout.take());
    child.wait().unwrap();
}
