//! Deadlines are not the wall clock's: it may jump.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::containers::{IMAGE, import};
use crate::ended::Ended;
use crate::process::Running;
use crate::support::{Home, PROBE, entries};

/// The library behind `faketime`, which gives a program another wall clock.
fn library() -> PathBuf {
    let name = "faketime/libfaketimeMT.so.1";
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    places
        .iter()
        .map(|place| PathBuf::from(place).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("this test needs libfaketime: apt-get install faketime"))
}

/// A wall clock that a test can set.
struct Clock(PathBuf);

impl Clock {
    fn new(home: &Home) -> Self {
        let clock = Self(home.tmp().join("offset"));
        clock.set("+0");
        clock
    }

    fn set(&self, offset: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Runs the probe, and sets the clock to `offset` when its call is under way.
fn run_with_jump(home: &Home, offset: &str, timeout: &str, input: &str) -> (Ended, Duration) {
    // Compiled beforehand, so that the time measured is the call's.
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    let clock = Clock::new(home);
    let mut command = home.command(&["run", PROBE, "--timeout", timeout, "--input", input]);
    clock.apply(&mut command);
    let started = Instant::now();
    let mut running = Running::start(command, b"");
    running.wait_for("the scratch of its call", || home.scratches().pop());
    clock.set(offset);
    (running.end(), started.elapsed())
}

/// Whether the record of the last call bears a year that is `by` from now's.
#[track_caller]
fn the_clock_had_jumped(home: &Home, by: i64) {
    let year = |record: &serde_json::Value| {
        record["time"].as_str().unwrap()[..4]
            .parse::<i64>()
            .unwrap()
    };
    let records = home.audit();
    let moved = year(&records[1]) - year(&records[0]);
    // A day more or less than a year may be another year.
    assert!((moved - by).abs() <= 1 && moved != 0, "{records:?}");
}

#[test]
fn a_clock_that_jumps_forward_ends_no_call_early() {
    let home = Home::new();
    let input = r#"{"op":"sleep","ms":1000}"#;
    let (ended, took) = run_with_jump(&home, "+2y", "30s", input);
    the_clock_had_jumped(&home, 2);
    assert_eq!(ended.succeeds_silently().json()["errno"], 0);
    assert!(
        took >= Duration::from_secs(1),
        "its sleep was cut to {took:?}"
    );
}

#[test]
fn a_clock_that_jumps_back_ends_no_call_late() {
    let home = Home::new();
    for input in [r#"{"op":"spin"}"#, r#"{"op":"sleep","seconds":3600}"#] {
        let (ended, took) = run_with_jump(&home, "-2y", "2s", input);
        ended.exits(124, &["time limit"]);
        assert!(
            took >= Duration::from_secs(2),
            "it was stopped after {took:?}"
        );
        assert!(
            took < Duration::from_secs(12),
            "it was stopped after {took:?}"
        );
        the_clock_had_jumped(&home, -2);
        std::fs::remove_file(home.audit_log()).unwrap();
    }
}

#[test]
fn a_clock_that_runs_away_ends_no_call_early() {
    let home = Home::new();
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    let mut command = home.command(&[
        "run",
        PROBE,
        "--timeout",
        "30s",
        "--input",
        r#"{"op":"sleep","ms":100}"#,
    ]);
    let clock = Clock::new(&home);
    // Half an hour a second: the limit would be reached in 20 ms.
    clock.set("+2y x1800");
    clock.apply(&mut command);
    Running::start(command, b"").end().succeeds_silently();
    the_clock_had_jumped(&home, 2);
}

/// Runs `script` in a container, and sets the clock to `offset` when it is under way. The container
/// has the kernel's clock; whoever keeps its time has the one that jumps.
fn contain_with_jump(home: &Home, offset: &str, timeout: &str, script: &str) -> (Ended, Duration) {
    import(home);
    let run = ["run", "--image", IMAGE];
    // Its record tells what the time was.
    home.axocoatl(&[&run[..], &["--", "echo", "1"]].concat())
        .succeeds();
    let out = home.shared_directory("out");
    let script = format!("echo x > /out/started; {script}");
    let mount = ["--mount", "./out:/out:rw"];
    let rest = ["--timeout", timeout, "--", "sh", "-c", &script];
    let mut command = home.command(&[&run[..], &mount, &rest].concat());
    let clock = Clock::new(home);
    clock.apply(&mut command);
    let started = Instant::now();
    let mut running = Running::start(command, b"");
    running.wait_for("the tool", || entries(&out).pop());
    clock.set(offset);
    (running.end(), started.elapsed())
}

#[test]
fn a_clock_that_jumps_forward_ends_no_container_early() {
    let home = Home::new();
    let (ended, took) = contain_with_jump(&home, "+2y", "30s", "sleep 1; echo 1");
    the_clock_had_jumped(&home, 2);
    assert_eq!(ended.succeeds_silently().out(), "1\n");
    assert!(
        took >= Duration::from_secs(1),
        "its sleep was cut to {took:?}"
    );
}

#[test]
fn a_clock_that_jumps_back_ends_no_container_late() {
    let home = Home::new();
    let (ended, took) = contain_with_jump(&home, "-2y", "2s", "exec sleep 3600");
    ended.exits(124, &["time limit"]);
    assert!(
        took >= Duration::from_secs(2),
        "it was stopped after {took:?}"
    );
    assert!(
        took < Duration::from_secs(22),
        "it was stopped after {took:?}"
    );
    the_clock_had_jumped(&home, -2);
}
