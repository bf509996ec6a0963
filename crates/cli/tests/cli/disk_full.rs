//! A disk without space, as a small file system of its own.

use crate::ended::Ended;
use crate::process::Running;
use crate::support::{AXOCOATL, Home, PROBE, add_tool};

const ECHO: &str = r#"{"op":"echo"}"#;

/// Runs `prepare`, then the command with `arguments`, then `look` and a line with the command's exit
/// code on standard error; all where what is mounted is seen by nobody else.
fn run_with_mounts(home: &Home, prepare: &str, arguments: &[&str], look: &str) -> (Ended, i32) {
    let script = format!(
        "set -e; cd \"$AXOCOATL_HOME\"; {prepare}; set +e; \"$@\"; code=$?; {look} >&2; echo $code >&2"
    );
    let mut shell = home.program("unshare");
    // Root of a user namespace may mount, where there is no other root.
    shell.arg(if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-rm"
    });
    shell
        .args(["sh", "-c", &script, "sh", AXOCOATL])
        .args(arguments);
    let ended = Running::start(shell, b"").end().succeeds();
    let code = ended.err().lines().last().unwrap().parse();
    let code = code.unwrap_or_else(|e| panic!("{e}: {ended}"));
    (ended, code)
}

/// A file system at `path` with this much room. Its mode is that of our own directories.
fn small(path: &str, room: &str) -> String {
    format!("mkdir -m 700 -p {path}; mount -t tmpfs -o {room},mode=700 tmpfs {path}")
}

#[test]
fn a_full_disk_under_the_cache_costs_a_warning_and_leaves_nothing_half_written() {
    let home = Home::new();
    let (ended, code) = run_with_mounts(
        &home,
        &small("data/cache/wasm", "size=64k"),
        &["run", PROBE, "--input", ECHO],
        "ls -A data/cache/wasm",
    );
    assert_eq!(code, 0, "{ended}");
    assert_eq!(ended.out(), format!("{ECHO}\n"));
    assert!(
        ended
            .err()
            .contains("warning: compiled code could not be kept"),
        "{ended}"
    );
    assert!(ended.err().contains("No space left"), "{ended}");
    assert!(
        !ended.err().contains("\ntmp-"),
        "half an entry is left: {ended}"
    );
    assert!(
        !ended.err().contains(".cwasm\n"),
        "half an entry is left: {ended}"
    );
}

#[test]
fn a_disk_without_room_for_another_file_under_the_cache_costs_a_warning() {
    let home = Home::new();
    let (ended, code) = run_with_mounts(
        &home,
        &small("data/cache/wasm", "nr_inodes=1"),
        &["run", PROBE, "--input", ECHO],
        "ls -A data/cache/wasm",
    );
    assert_eq!(code, 0, "{ended}");
    assert_eq!(ended.out(), format!("{ECHO}\n"));
    assert!(ended.err().contains("warning: "), "{ended}");
}

#[test]
fn a_full_disk_under_the_audit_log_fails_the_call_and_json_carries_its_outcome() {
    let home = Home::new();
    let prepare = format!(
        "{}; {}; dd if=/dev/zero of=data/filler bs=4k 2>/dev/null || true",
        small("data", "size=64k"),
        small("data/cache/wasm", "size=8m")
    );
    let arguments = ["run", PROBE, "--input", ECHO, "--json"];
    let (ended, code) = run_with_mounts(&home, &prepare, &arguments, "cat data/audit.jsonl");
    assert_eq!(code, 125, "{ended}");
    for phrase in [
        "could not be recorded in the audit log",
        "home/data/audit.jsonl",
        "free space",
        "No space left",
    ] {
        assert!(ended.err().contains(phrase), "{phrase}: {ended}");
    }
    let json = ended.json();
    assert_eq!(json["error"]["exit_code"], 125);
    assert_eq!(json["outcome"]["termination"]["kind"], "exited");
    assert_eq!(json["outcome"]["stdout"], ECHO);
}

#[test]
fn a_full_disk_under_the_scratch_fails_the_call_and_says_where() {
    let home = Home::new();
    let input = home.work().join("large.json");
    std::fs::write(
        &input,
        format!("{{\"op\":\"echo\",\"x\":\"{}\"}}", "x".repeat(1 << 20)),
    )
    .unwrap();
    let (ended, code) = run_with_mounts(
        &home,
        &small("run", "size=64k"),
        &["run", PROBE, "--input-file", input.to_str().unwrap()],
        "find run/owners -mindepth 1",
    );
    assert_eq!(code, 125, "{ended}");
    for phrase in ["scratch directory", "No space left"] {
        assert!(ended.err().contains(phrase), "{phrase}: {ended}");
    }
    assert!(
        !ended.err().contains("\nrun/owners/"),
        "something is left: {ended}"
    );
}

#[test]
fn a_full_disk_under_the_tools_adds_no_half_of_one() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "large", "");
    std::fs::write(tool.join("data"), vec![1; 1 << 20]).unwrap();
    let (ended, code) = run_with_mounts(
        &home,
        &small("data/tools", "size=256k"),
        &["tool", "add", tool.to_str().unwrap()],
        "ls -A data/tools",
    );
    assert_eq!(code, 125, "{ended}");
    for phrase in ["copying to", "No space left", "the space left"] {
        assert!(ended.err().contains(phrase), "{phrase}: {ended}");
    }
    assert!(!ended.err().contains("\nlarge\n"), "{ended}");
    assert!(!ended.err().contains("\n.adding-"), "{ended}");
}

#[test]
fn an_audit_log_that_is_no_file_of_ours_fails_the_call() {
    let home = Home::new();
    let elsewhere = home.work().join("elsewhere");
    std::fs::write(&elsewhere, "").unwrap();
    std::fs::create_dir_all(home.path().join("data")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.audit_log()).unwrap();
    home.axocoatl(&["run", PROBE, "--input", ECHO])
        .exits(125, &["could not be recorded in the audit log"]);
    assert_eq!(
        std::fs::read(&elsewhere).unwrap(),
        b"",
        "a link was followed"
    );
    std::fs::remove_file(home.audit_log()).unwrap();
    crate::support::make_fifo(&home.audit_log());
    home.start(&["run", PROBE, "--input", ECHO])
        .end_within(std::time::Duration::from_secs(10))
        .exits(125, &["could not be recorded in the audit log"]);
}
