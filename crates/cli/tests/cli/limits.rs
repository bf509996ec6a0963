//! A tool at one of its limits is stopped, and the command says which.

use std::time::Duration;

use crate::support::{Home, PROBE, add_tool};

/// The limit of 300 ms and much room for a busy machine.
const STOPPED: Duration = Duration::from_secs(10);

#[test]
fn a_tool_that_computes_past_its_time_limit_is_124() {
    let home = Home::new();
    home.start(&[
        "run",
        PROBE,
        "--timeout",
        "300ms",
        "--input",
        r#"{"op":"spin"}"#,
    ])
    .end_within(STOPPED)
    .exits(124, &["time limit", "limits.wall", "--timeout"]);
}

#[test]
fn a_tool_that_sleeps_past_its_time_limit_is_124() {
    let home = Home::new();
    let input = r#"{"op":"sleep","seconds":3600}"#;
    home.start(&["run", PROBE, "--timeout", "300ms", "--input", input])
        .end_within(STOPPED)
        .exits(124, &["time limit", "--timeout"]);
}

#[test]
fn a_tool_that_fills_memory_in_long_instructions_is_124() {
    let home = Home::new();
    home.start(&[
        "run",
        PROBE,
        "--timeout",
        "300ms",
        "--input",
        r#"{"op":"fill"}"#,
    ])
    .end_within(STOPPED)
    .exits(124, &["time limit"]);
}

#[test]
fn a_tool_that_ends_in_time_is_not_stopped() {
    let home = Home::new();
    let input = r#"{"op":"sleep","ms":50}"#;
    home.probe(input, &["--timeout", "1m 30s"])
        .succeeds_silently();
}

#[test]
fn a_tool_past_its_memory_limit_is_137() {
    let home = Home::new();
    let input = r#"{"op":"alloc","bytes":67108864}"#;
    home.probe(input, &["--memory", "16MiB"])
        .exits(137, &["memory limit", "limits.memory", "--memory"]);
    let ended = home.probe(input, &["--memory", "100MiB"]).succeeds();
    assert_eq!(ended.json()["allocated"], 67_108_864);
}

#[test]
fn a_tool_past_the_default_memory_limit_is_137() {
    let home = Home::new();
    home.probe(r#"{"op":"alloc","bytes":268435456}"#, &[])
        .exits(137, &["memory limit"]);
}

#[test]
fn a_memory_limit_below_what_the_program_starts_with_is_137() {
    let home = Home::new();
    home.probe(r#"{"op":"echo"}"#, &["--memory", "64KiB"])
        .exits(137, &["memory limit"]);
}

#[test]
fn a_tool_past_its_fuel_is_152() {
    let home = Home::new();
    home.probe(r#"{"op":"spin"}"#, &["--fuel", "1000000"])
        .exits(152, &["fuel", "limits.fuel", "--fuel"]);
}

#[test]
fn a_tool_that_floods_is_153_and_keeps_what_fits() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "flood", "[limits]\noutput = \"64KiB\"\n");
    let tool = tool.to_str().unwrap();
    for stream in ["stdout", "stderr"] {
        let input = format!(r#"{{"op":"flood","stream":"{stream}"}}"#);
        let ended = home
            .axocoatl(&["run", tool, "--input", &input])
            .exits(153, &["output limit", "limits.output"]);
        let kept = if stream == "stdout" {
            &ended.stdout
        } else {
            &ended.stderr
        };
        let x = kept.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(x, 64 << 10, "{stream}");
    }
}

#[test]
fn the_command_line_goes_before_the_manifest() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "slow", "[limits]\nwall = \"1h\"\n");
    home.start(&[
        "run",
        tool.to_str().unwrap(),
        "--timeout",
        "300ms",
        "--input",
        r#"{"op":"spin"}"#,
    ])
    .end_within(STOPPED)
    .exits(124, &[]);
}
