//! Commands of the host that the operator trusts by name.

use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Running, wait_for};
use crate::support::Home;

#[test]
fn only_a_command_the_operator_named_runs_on_the_host() {
    let home = Home::new();
    home.axocoatl(&["run", "copy", "--input", "[1]"])
        .exits(127, &["there is no tool copy"]);
    home.policy("[native.copy]\ncommand = [\"/bin/cat\"]\n");
    let ended = home.axocoatl(&["run", "copy", "--input", "[1]"]);
    assert_eq!(ended.succeeds_silently().out(), "[1]\n");
}

#[test]
fn it_sees_nothing_of_the_hosts_environment() {
    let home = Home::new();
    home.policy("[native.env]\ncommand = [\"/usr/bin/env\", \"-0\"]\n");
    let mut command = home.command(&["run", "env", "--input", "1"]);
    command.env("CANARY", "sings");
    let ended = Running::start(command, b"").end().succeeds_silently();
    let text = ended.json();
    let mut names: Vec<_> = text
        .as_str()
        .unwrap()
        .split_terminator('\0')
        .map(|entry| entry.split_once('=').unwrap().0)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["AXOCOATL_CALL_ID", "AXOCOATL_TOOL", "HOME", "PATH"]);
}

#[test]
fn it_ends_at_its_time_limit_with_everything_it_started() {
    let home = Home::new();
    let mark = home.work().join("mark");
    let script = format!(
        "sh -c 'sleep 2; echo alive > {}' & sleep 3600",
        mark.display()
    );
    home.policy(&format!(
        "[native.slow]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\nwall = \"300ms\"\n"
    ));
    home.start(&["run", "slow", "--input", "1"])
        .end_within(Duration::from_secs(10))
        .exits(124, &["time limit"]);
    // Longer than its child would have taken.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!mark.exists(), "a child outlived the call");
}

#[test]
fn a_limit_the_host_cannot_enforce_is_refused() {
    let home = Home::new();
    home.policy("[native.copy]\ncommand = [\"/bin/cat\"]\n");
    home.axocoatl(&["run", "copy", "--input", "1", "--memory", "64MiB"])
        .exits(
            126,
            &[
                "none: cannot enforce limit memory",
                "leave limit memory out",
            ],
        );
    home.axocoatl(&["run", "copy", "--input", "1", "--mount", ".:/data"])
        .exits(126, &["none: cannot give a mounts grant"]);
}

#[test]
fn it_does_not_stand_in_where_isolation_is_asked_for() {
    let home = Home::new();
    home.policy("[native.copy]\ncommand = [\"/bin/cat\"]\n");
    for more in [["--min-tier", "wasm"], ["--tier", "wasm"]] {
        home.axocoatl(&[&["run", "copy", "--input", "1"][..], &more].concat())
            .exits(126, &["is refused"]);
    }
}

#[test]
fn a_command_that_is_missing_is_our_failure_and_names_the_policy() {
    let home = Home::new();
    home.policy("[native.gone]\ncommand = [\"/absent/program\"]\n");
    home.axocoatl(&["run", "gone", "--input", "1"])
        .exits(125, &["/absent/program", "[native] in policy.toml"]);
}

#[test]
fn a_status_of_a_signal_is_128_and_its_number() {
    let home = Home::new();
    home.policy("[native.killed]\ncommand = [\"/bin/sh\", \"-c\", \"kill -TERM $$\"]\n");
    home.axocoatl(&["run", "killed", "--input", "1"])
        .exits(143, &["was ended by signal 15"]);
}

#[test]
fn an_interrupt_ends_it_too() {
    let home = Home::new();
    let file = home.work().join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 3600",
        file.display()
    );
    home.policy(&format!(
        "[native.slow]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n"
    ));
    let mut running = home.start(&["run", "slow", "--timeout", "1h", "--input", "1"]);
    let pid = running.wait_for("its process", || std::fs::read_to_string(&file).ok());
    running.signal(Signal::INT);
    running.end_within(Duration::from_secs(10)).exits(130, &[]);
    let process = format!("/proc/{}", pid.trim());
    // It is killed by now, and soon nobody's.
    wait_for("its end", || {
        (!std::path::Path::new(&process).exists()).then_some(())
    });
    assert_eq!(home.audit()[0]["result"], "cancelled");
}
