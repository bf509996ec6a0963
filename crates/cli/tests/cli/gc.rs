//! What killed processes leave is found and removed; what living ones have is kept.

use rustix::process::Signal;

use crate::process::Running;
use crate::support::{Home, entries, set_mode, write};

fn kill(running: Running) {
    running.signal(Signal::KILL);
    assert_eq!(running.end().signal(), Some(9));
}

#[test]
fn what_a_killed_process_left_is_removed_and_a_living_ones_is_kept() {
    let home = Home::new();
    let (living, kept) = home.start_sleeper();
    let (killed, left) = home.start_sleeper();
    kill(killed);
    assert!(left.exists(), "a killed process cannot clean up");
    let owner = left.parent().unwrap().to_str().unwrap();

    let dry = home.axocoatl(&["gc", "--dry-run"]).succeeds_silently();
    assert!(
        dry.out().contains(&format!("would remove {owner}")),
        "{dry}"
    );
    let dry = home
        .axocoatl(&["gc", "--dry-run", "--json"])
        .succeeds()
        .json();
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["removed"], serde_json::json!([owner]));
    assert_eq!(dry["living"], 1);
    assert!(left.exists(), "a dry run removes nothing");

    let removed = home.axocoatl(&["gc", "--json"]).succeeds().json();
    assert_eq!(removed["dry_run"], false);
    assert_eq!(removed["removed"], serde_json::json!([owner]));
    assert_eq!(removed["living"], 1);
    assert!(!left.parent().unwrap().exists());
    assert!(
        kept.join("axocoatl/input.json").exists(),
        "a living one's was removed"
    );

    living.signal(Signal::INT);
    living.end().exits(130, &[]);
    assert!(entries(&home.owners()).is_empty());
}

#[test]
fn the_next_call_removes_what_a_killed_one_left() {
    let home = Home::new();
    let (killed, left) = home.start_sleeper();
    kill(killed);
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds_silently();
    assert!(!left.exists());
    assert!(entries(&home.owners()).is_empty());
}

#[test]
fn a_tool_ends_with_the_process_that_called_it() {
    let home = Home::new();
    let (killed, _) = home.start_sleeper();
    let children = format!("/proc/{0}/task/{0}/children", killed.pid());
    assert_eq!(
        std::fs::read_to_string(children).unwrap(),
        "",
        "wasm runs in the process itself"
    );
    kill(killed);
}

#[test]
fn nothing_to_remove_is_a_success() {
    let home = Home::new();
    let ended = home.axocoatl(&["gc"]).succeeds_silently();
    assert!(ended.out().contains("removed 0 directories"), "{ended}");
    assert!(entries(&home.path()).is_empty(), "nothing is made");
    assert!(entries(&home.tmp()).is_empty(), "nothing is made");
}

#[test]
fn a_podman_that_does_not_work_keeps_nothing_else_from_being_removed() {
    let home = Home::new();
    let (killed, left) = home.start_sleeper();
    kill(killed);
    // There were sessions once.
    let sessions = home.path().join("data/sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    set_mode(&sessions, 0o700);
    // Nobody knows whether containers of these are there.
    let strays = ["0123456789ab", "ba9876543210"].map(|id| sessions.join(id));
    for stray in &strays {
        std::fs::create_dir_all(stray).unwrap();
        set_mode(stray, 0o700);
    }
    let programs = home.tmp().join("programs");
    let (podman, asked) = (programs.join("podman"), home.tmp().join("asked"));
    let script = format!(
        "#!/bin/sh\necho $1 >>{}\necho 'Error: broken' >&2\nexit 125\n",
        asked.display()
    );
    write(&podman, script.as_bytes());
    set_mode(&podman, 0o755);
    let gc = |arguments: &[&str]| {
        let mut gc = home.command(arguments);
        gc.env("PATH", &programs);
        Running::start(gc, b"").end()
    };
    let would = gc(&["gc", "--dry-run", "--json"]).exits(1, &["were not looked at"]);
    assert_eq!(would.json()["sessions"], serde_json::json!([]));
    let done = gc(&["gc", "--json"]).exits(1, &["were not looked at"]);
    let why = done.json()["podman_not_looked_at"].clone();
    assert!(why.as_str().unwrap().contains("podman"), "{why}");
    assert!(!left.exists());
    assert!(strays.iter().all(|stray| stray.exists()));
    let asked = std::fs::read_to_string(asked).unwrap();
    assert_eq!(asked, "--version\n--version\n", "once each time");
}

/// A process may die between making its directory and locking it.
#[test]
fn a_dry_run_changes_nothing_even_where_there_is_no_lock() {
    let home = Home::new();
    let owner = home.owners().join("died-early");
    std::fs::create_dir_all(&owner).unwrap();
    for arguments in [&["gc", "--dry-run"][..], &["doctor"]] {
        home.axocoatl(arguments);
        assert!(
            entries(&owner).is_empty(),
            "{arguments:?} wrote {:?}",
            entries(&owner)
        );
    }
    home.axocoatl(&["gc"]).succeeds_silently();
    assert!(!owner.exists());
}

#[test]
fn a_link_among_the_owners_is_not_followed() {
    let home = Home::new();
    let outside = home.work().join("outside");
    crate::support::write(&outside.join("file"), b"mine");
    std::fs::create_dir_all(home.owners()).unwrap();
    std::os::unix::fs::symlink(&outside, home.owners().join("link")).unwrap();
    home.axocoatl(&["gc"]);
    assert_eq!(entries(&outside), [outside.join("file")]);
}

/// In a shared directory for temporary files anybody can make anything.
#[test]
fn somebody_elses_temporary_files_do_not_keep_it_from_removing_ours() {
    let home = Home::new();
    let (killed, left) = home.start_sleeper();
    kill(killed);
    home.axocoatl(&["tiers"]).succeeds();
    for trials in entries(&home.tmp()) {
        crate::support::set_mode(&trials, 0o777);
    }
    home.axocoatl(&["gc"]);
    assert!(!left.exists());
}

/// After a reboot, or when someone has written there, a number is another process's.
#[test]
fn a_number_in_a_file_ends_no_process() {
    let home = Home::new();
    let mut bystander = home.program("sleep");
    bystander.arg("600");
    let bystander = Running::start(bystander, b"");
    let pid = bystander.pid();
    let number = format!("{pid}\n");
    // As locks, and as runtimes tell of containers; beneath owners that nobody is.
    let owner = home.owners().join("00000000-0000-4000-8000-000000000000");
    let state = format!(
        r#"{{"ociVersion":"1.0.2","id":"axocoatl-x","status":"running","pid":{pid},"bundle":"/x"}}"#
    );
    for (file, content) in [
        ("lock", &number),
        ("pid", &number),
        ("runner.pid", &number),
        ("cgroup.procs", &number),
        ("state.json", &state),
        ("calls/x/pid", &number),
        ("axocoatl-x/state.json", &state),
        ("axocoatl-x/cgroup.procs", &number),
    ] {
        write(&owner.join(file), content.as_bytes());
    }
    // And a lock that somebody who lives holds, with the number of another.
    let held = home.owners().join("held");
    write(&held.join("lock"), number.as_bytes());
    let lock = std::fs::File::open(held.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();

    home.axocoatl(&["gc"]).succeeds();
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    assert!(!owner.exists(), "what nobody owns was left");
    assert!(held.exists(), "what somebody owns was removed");
    assert!(is_alive(pid), "gc ended a process for its number");
    drop(bystander);
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}
