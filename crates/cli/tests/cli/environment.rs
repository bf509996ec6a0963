//! Nothing of the host reaches a tool unless it is granted.

use serde_json::Value;

use crate::process::Running;
use crate::support::{Home, PROBE, add_tool};

/// The environment a probe sees, where the host's has a canary.
fn environment(home: &Home, more: &[&str]) -> Value {
    let arguments = [&["run", PROBE, "--input", r#"{"op":"env"}"#], more].concat();
    let mut command = home.command(&arguments);
    command
        .env("CANARY", "sings")
        .env("HTTPS_PROXY", "http://user:secret@proxy");
    Running::start(command, b"")
        .end()
        .succeeds_silently()
        .json()
}

fn names(environment: &Value) -> Vec<&str> {
    let mut names: Vec<_> = environment
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

const ALWAYS: [&str; 4] = ["AXOCOATL_CALL_ID", "AXOCOATL_TOOL", "HOME", "PATH"];

#[test]
fn the_hosts_environment_is_not_visible() {
    let home = Home::new();
    let seen = environment(&home, &[]);
    assert_eq!(names(&seen), ALWAYS);
    assert_eq!(seen["AXOCOATL_TOOL"], "probe");
    assert_eq!(seen["HOME"], "/tmp");
    assert!(!seen.to_string().contains(home.work().to_str().unwrap()));
}

#[test]
fn env_with_a_name_passes_the_hosts_value() {
    let home = Home::new();
    let seen = environment(&home, &["--env", "CANARY"]);
    assert_eq!(seen["CANARY"], "sings");
    assert_eq!(names(&seen).len(), ALWAYS.len() + 1);
}

#[test]
fn env_with_a_value_sets_it() {
    let home = Home::new();
    let seen = environment(&home, &["--env", "CANARY=a=b c", "--env", "EMPTY="]);
    assert_eq!(seen["CANARY"], "a=b c");
    assert_eq!(seen["EMPTY"], "");
}

#[test]
fn a_variable_given_twice_is_there_once_with_the_last_value() {
    let home = Home::new();
    let more = ["--env", "TWICE=first", "--env", "TWICE=last"];
    let ended = home.probe(r#"{"op":"env"}"#, &more).succeeds_silently();
    assert_eq!(ended.out().matches("\"TWICE\"").count(), 1, "{ended}");
    assert_eq!(ended.json()["TWICE"], "last");
}

#[test]
fn env_with_a_name_the_host_does_not_have_is_an_error() {
    Home::new()
        .axocoatl(&["run", PROBE, "--input", "1", "--env", "ABSENT"])
        .exits(2, &["ABSENT is not set here", "ABSENT=VALUE"]);
}

#[test]
fn the_call_identity_inside_is_the_one_outside() {
    let home = Home::new();
    let outcome = home.probe(r#"{"op":"env"}"#, &["--json"]).succeeds().json();
    assert_eq!(outcome["output"]["AXOCOATL_CALL_ID"], outcome["call_id"]);
}

#[test]
fn the_command_line_is_not_visible() {
    let home = Home::new();
    let ended = home
        .probe(r#"{"op":"args"}"#, &["--env", "SECRET=hidden"])
        .succeeds();
    assert_eq!(ended.out(), "[\"probe\"]\n");
}

/// A descriptor the caller left open, as shells and supervisors do.
#[test]
fn an_inherited_descriptor_is_not_visible() {
    let home = Home::new();
    let own = home.probe(r#"{"op":"fds"}"#, &[]).succeeds();
    let mut shell = home.program("sh");
    shell.args([
        "-c",
        "exec 7</etc/passwd 9</etc/passwd; exec \"$@\"",
        "sh",
        crate::support::AXOCOATL,
    ]);
    shell.args(["run", PROBE, "--input", r#"{"op":"fds"}"#]);
    let inherited = Running::start(shell, b"").end().succeeds();
    assert_eq!(inherited.out(), own.out());
}

#[test]
fn the_hosts_files_are_not_visible() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "curious", "");
    std::fs::write(home.work().join("secret"), "canary").unwrap();
    let secret = home.work().join("secret");
    for path in [
        secret.to_str().unwrap(),
        "secret",
        "../secret",
        "/tmp/../etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
    ] {
        let input = format!(r#"{{"op":"read","path":"{path}"}}"#);
        let ended = home
            .axocoatl(&["run", tool.to_str().unwrap(), "--input", &input])
            .succeeds();
        assert!(ended.json()["error"].is_string(), "{path}: {ended}");
    }
}

#[test]
fn nothing_of_one_call_is_seen_by_the_next() {
    let home = Home::new();
    for _ in 0..3 {
        let ended = home.probe(r#"{"op":"residue","canary":"tweet-tweet"}"#, &[]);
        assert_eq!(ended.succeeds_silently().out(), "{\"found\":false}\n");
    }
}
