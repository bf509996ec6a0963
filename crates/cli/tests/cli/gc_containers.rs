//! What a killed process leaves of a container: a cgroup at most, and `gc` finds it.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::containers::{IMAGE, start_staying};
use crate::process::{Running, wait_for};
use crate::support::Home;

fn start(home: &Home) -> Running {
    start_staying(home, "exec sleep 3600")
}

/// The children of a process, by their number, with what they execute.
fn children(pid: u32) -> Vec<(u32, String)> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| {
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            (pid.parse().unwrap(), exe.to_string_lossy().into_owned())
        })
        .collect()
}

fn runner(of: &Running) -> u32 {
    let found = children(of.pid());
    found
        .iter()
        .find(|(_, exe)| exe.contains("axo-runner"))
        .unwrap_or_else(|| panic!("no runner: {found:?}"))
        .0
}

/// All processes of a sandbox: what a runner started, and what that did.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(children(parent).iter().map(|(pid, _)| *pid));
        next += 1;
    }
    all
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // What is dead and not waited for is no process any more.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

#[test]
fn a_container_ends_with_the_process_that_called_it() {
    let home = Home::new();
    let running = start(&home);
    let family = family(runner(&running));
    assert!(family.len() >= 2, "{family:?}");
    running.signal(Signal::KILL);
    assert_eq!(running.end().signal(), Some(9));
    wait_for("its container to end", || {
        family.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
    // Its runner has cleared up, so that the image is in use no more.
    home.axocoatl(&["image", "rm", IMAGE]).succeeds();
}

#[test]
fn the_cgroup_of_a_killed_runner_is_found_and_removed() {
    let _alone = crate::support::without_others();
    let home = Home::new();
    let running = start(&home);
    let runner = runner(&running);
    let family = family(runner);
    kill_process(
        Pid::from_raw(i32::try_from(runner).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    running.end().exits(125, &["runner"]);
    wait_for("its container to end", || {
        family.iter().all(|pid| !is_alive(*pid)).then_some(())
    });

    let dry = home.command(&["gc", "--dry-run", "--json"]);
    let dry = Running::start(dry, b"").end().succeeds_silently().json();
    let left = cgroups(&dry);
    // Systemd removes a scope with its last process; and whoever makes a call of its own meanwhile
    // removes what it finds.
    if left.iter().any(|path| Path::new(path).exists()) {
        let doctor = Running::start(home.command(&["doctor", "--json"]), b"").end();
        let doctor = doctor.json();
        let findings = doctor["findings"].as_array().unwrap();
        assert!(findings.iter().any(|f| f["what"] == "leftover containers"));
    }
    let gc = Running::start(home.command(&["gc"]), b"");
    gc.end().succeeds_silently();
    assert!(left.iter().all(|path| !Path::new(path).exists()));
}

fn cgroups(json: &Value) -> Vec<String> {
    let mut paths: Vec<_> = json["cgroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_cgroups_of_a_living_container_stay() {
    let home = Home::new();
    let running = start(&home);
    home.axocoatl(&["gc"]).succeeds_silently();
    assert!(family(runner(&running)).into_iter().all(is_alive));
    running.signal(Signal::TERM);
    running.end().exits(143, &[]);
}
