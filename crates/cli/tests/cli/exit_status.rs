//! The tool's exit status is the command's, and no failure looks like success.

use crate::support::{Home, PROBE, write};

fn exit(code: i64) -> String {
    format!(r#"{{"op":"exit","code":{code}}}"#)
}

#[test]
fn the_tools_exit_code_is_the_commands() {
    let home = Home::new();
    for code in [0, 1, 3, 125, 126, 200, 255] {
        let ended = home.probe(&exit(code), &[]);
        assert_eq!(ended.code().map(i64::from), Some(code), "{ended}");
    }
}

#[test]
fn a_status_that_does_not_fit_a_byte_is_not_cut_down_to_success() {
    let home = Home::new();
    for code in [256, 512, 65536, -256, -1] {
        let ended = home.probe(&exit(code), &["--json"]);
        assert_eq!(ended.code(), Some(255), "status {code}: {ended}");
        assert_eq!(ended.json()["termination"]["code"], code);
    }
}

#[test]
fn a_failed_tool_keeps_its_output_and_is_said_to_have_failed() {
    let home = Home::new();
    let ended = home
        .probe(&exit(3), &[])
        .exits(3, &["tool probe exited with status 3"]);
    assert_eq!(ended.out(), "{\"partial\":true}\n");
}

#[test]
fn a_trap_is_134_and_names_the_trap() {
    let home = Home::new();
    home.probe(r#"{"op":"trap"}"#, &[])
        .exits(134, &["tool probe trapped", "unreachable"]);
    home.probe(r#"{"op":"recurse"}"#, &[])
        .exits(134, &["tool probe trapped", "call stack exhausted"]);
}

#[test]
fn a_components_failure_is_1() {
    let home = Home::new();
    // `run` returns the error case of its result.
    let component = r#"(component
        (core module $m (func (export "run") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    write(&home.work().join("c.wat"), component.as_bytes());
    home.axocoatl(&["run", "c.wat", "--input", "null"])
        .exits(1, &["tool c exited with status 1"]);
    let succeeding = component.replace("i32.const 1", "i32.const 0");
    write(&home.work().join("c.wat"), succeeding.as_bytes());
    home.axocoatl(&["run", "c.wat", "--input", "null"])
        .succeeds();
}

#[test]
fn json_names_every_way_to_end() {
    let home = Home::new();
    let cases: [(&str, &[&str], i32, &str); 7] = [
        (r#"{"op":"echo"}"#, &[], 0, "exited"),
        (r#"{"op":"exit","code":9}"#, &[], 9, "exited"),
        (r#"{"op":"trap"}"#, &[], 134, "trapped"),
        (
            r#"{"op":"spin"}"#,
            &["--timeout", "100ms"],
            124,
            "timed-out",
        ),
        (
            r#"{"op":"spin"}"#,
            &["--fuel", "1000000"],
            152,
            "fuel-exhausted",
        ),
        (
            r#"{"op":"alloc","bytes":99000000}"#,
            &["--memory", "16MiB"],
            137,
            "out-of-memory",
        ),
        (
            r#"{"op":"flood","stream":"stderr"}"#,
            &[],
            153,
            "output-limit",
        ),
    ];
    for (input, more, code, kind) in cases {
        let ended = home.probe(input, &[more, &["--json"]].concat());
        assert_eq!(ended.code(), Some(code), "{input}: {ended}");
        assert_eq!(
            ended.json()["termination"]["kind"],
            kind,
            "{input}: {ended}"
        );
        assert!(ended.stderr.is_empty(), "{input}: {ended}");
    }
}

#[test]
fn a_reader_that_went_away_does_not_change_the_tools_status() {
    let home = Home::new();
    let mut shell = home.program("sh");
    // The pipe's reader has ended before the command writes to it.
    shell.args(["-c", "{ sleep 0.1; \"$@\"; echo $? >&2; } | true", "sh"]);
    shell.args([crate::support::AXOCOATL, "run", PROBE, "--input", &exit(3)]);
    let ended = crate::process::Running::start(shell, b"").end();
    assert!(ended.err().ends_with("\n3\n"), "{ended}");
}
