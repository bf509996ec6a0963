//! A call that is interrupted ends, is recorded, and leaves nothing.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Home, PROBE, entries};

const PROMPT: Duration = Duration::from_secs(10);

#[test]
fn an_interrupted_call_is_130_or_143_recorded_as_cancelled_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let home = Home::new();
        let (sleeper, scratch) = home.start_sleeper();
        sleeper.signal(signal);
        let ended = sleeper.end_within(PROMPT).exits(code, &["interrupted"]);
        assert!(ended.stdout.is_empty(), "{ended}");

        let records = home.audit();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["result"], "cancelled");
        assert_eq!(records[0]["tool"], "probe");
        let call_id = scratch.file_name().unwrap().to_str().unwrap();
        assert_eq!(records[0]["call_id"], call_id);
        assert!(entries(&home.owners()).is_empty(), "the scratch is left");
    }
}

/// The handlers must stand before the call starts: what it did would go unrecorded otherwise.
#[test]
fn an_interrupt_at_the_very_start_of_a_call_is_recorded() {
    let home = Home::new();
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    let input = r#"{"op":"spin"}"#;
    for round in 1..=10 {
        let spinner = home.start(&["run", PROBE, "--timeout", "1h", "--input", input]);
        // Without a pause between looks, so that the interrupt comes at once.
        while home.scratches().is_empty() {}
        spinner.signal(Signal::INT);
        spinner.end_within(PROMPT).exits(130, &[]);
        let records = home.audit();
        assert_eq!(records.len(), round + 1);
        assert_eq!(records[round]["result"], "cancelled");
    }
}

#[test]
fn a_call_that_computes_is_interrupted_as_well() {
    let home = Home::new();
    // So that it is not compiled now, and the interrupt meets the program.
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    let input = r#"{"op":"spin"}"#;
    let mut spinner = home.start(&["run", PROBE, "--timeout", "1h", "--input", input]);
    spinner.wait_for("the scratch of its call", || home.scratches().pop());
    spinner.signal(Signal::INT);
    spinner.end_within(PROMPT).exits(130, &[]);
    assert_eq!(home.audit()[1]["result"], "cancelled");
}

#[test]
fn a_call_that_is_interrupted_while_compiling_leaves_no_half_entry() {
    let home = Home::new();
    // Long to compile: many functions of some size.
    let body = "(local i32) local.get 0 i32.const 3 i32.mul local.set 0 ".to_string()
        + &"local.get 0 i32.const 7 i32.xor i32.const 3 i32.rotl local.set 0 ".repeat(2_000);
    let module = format!(
        "(module (func (export \"_start\")) {})",
        format!("(func {body})").repeat(150)
    );
    crate::support::write(&home.work().join("long.wat"), module.as_bytes());
    let mut running = home.start(&["run", "long.wat", "--input", "null"]);
    running.wait_for("the compiler's lock", || {
        entries(&home.cache())
            .into_iter()
            .find(|path| path.is_file())
    });
    running.signal(Signal::INT);
    let ended = running.end_within(PROMPT);
    assert_eq!(ended.code(), Some(130), "{ended}");
    let names: Vec<_> = entries(&home.cache());
    assert!(
        names.iter().all(|p| p
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("lock-")),
        "{names:?}"
    );
    assert_eq!(home.audit()[0]["result"], "cancelled");
}
