//! `tiers` and `doctor`: what this host can do, and what is wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Home, PROBE, add_tool, entries, mode, set_mode};

fn tier<'a>(json: &'a Value, name: &str) -> &'a Value {
    let tiers = json["tiers"].as_array().unwrap();
    assert_eq!(tiers.len(), 4, "{json}");
    tiers.iter().find(|tier| tier["tier"] == name).unwrap()
}

fn finding<'a>(json: &'a Value, what: &str) -> &'a Value {
    let findings = json["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["what"] == what)
        .unwrap()
}

/// Every file beneath `directory`: its content, and all about it but when it was read.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if m.is_dir() {
            open.extend(entries(&path));
        } else if m.is_file() {
            content = fs::read(&path).unwrap();
        }
        let (mode, inode, owner) = (m.mode(), m.ino(), m.uid());
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        all.insert(
            path,
            (format!("{mode:o} {inode} {owner} {times:?}"), content),
        );
    }
    all
}

#[test]
fn wasm_is_proved_to_work_and_what_does_not_says_why_and_what_helps() {
    let home = Home::new();
    for verb in ["tiers", "doctor"] {
        let json = home.axocoatl(&[verb, "--json"]).succeeds_silently().json();
        let wasm = tier(&json, "wasm");
        assert_eq!(wasm["works"], true, "{json}");
        assert!(wasm["took_us"].as_u64().unwrap() > 0);
        for tier in json["tiers"].as_array().unwrap() {
            if tier["works"] == false {
                assert!(!tier["reason"].as_str().unwrap().is_empty(), "{tier}");
                assert!(!tier["fix"].as_str().unwrap().is_empty(), "{tier}");
            }
        }
        let text = home.axocoatl(&[verb]).succeeds_silently();
        assert!(text.out().contains("wasm"), "{text}");
    }
}

#[test]
fn doctor_changes_nothing() {
    let home = Home::new();
    let before = snapshot(&home.path());
    home.axocoatl(&["doctor"]).succeeds();
    home.axocoatl(&["tiers"]).succeeds();
    assert_eq!(snapshot(&home.path()), before, "in an empty home");

    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    add_tool(&home.user_tools(), "mine", "");
    home.policy("[ceilings]\nmemory = \"1GiB\"\n");
    let (sleeper, _) = home.start_sleeper();
    let (killed, _) = home.start_sleeper();
    killed.signal(rustix::process::Signal::KILL);
    killed.end();
    set_mode(&home.cache(), 0o777);
    let before = snapshot(&home.path());
    home.axocoatl(&["doctor"]).exits(1, &[]);
    home.axocoatl(&["tiers"]).succeeds();
    assert_eq!(snapshot(&home.path()), before, "in a home that is used");
    for trials in entries(&home.tmp()) {
        assert!(entries(&trials).is_empty(), "{trials:?} is left");
    }
    drop(sleeper);
}

#[test]
fn doctor_finds_a_cache_that_others_can_write_and_repairs_it_when_asked() {
    let home = Home::new();
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds();
    set_mode(&home.cache(), 0o777);
    let found = home.axocoatl(&["doctor", "--json"]).exits(1, &[]).json();
    let finding_then = finding(&found, "compiled code");
    assert_eq!(finding_then["state"], "wrong");
    assert!(
        finding_then["fix"].as_str().unwrap().contains("chmod"),
        "{found}"
    );
    assert_eq!(mode(&home.cache()), 0o777);

    let fixed = home
        .axocoatl(&["doctor", "--fix", "--json"])
        .succeeds()
        .json();
    assert_eq!(finding(&fixed, "compiled code")["state"], "repaired");
    assert_eq!(mode(&home.cache()) & 0o022, 0);
    home.probe(r#"{"op":"echo"}"#, &[]).succeeds_silently();
    let text = home.axocoatl(&["doctor"]).succeeds_silently();
    assert!(!text.out().contains("WRONG"), "{text}");
}

#[test]
fn doctor_finds_what_a_killed_process_left_and_removes_it_when_asked() {
    let home = Home::new();
    let (killed, left) = home.start_sleeper();
    killed.signal(rustix::process::Signal::KILL);
    killed.end();
    let found = home.axocoatl(&["doctor", "--json"]).exits(1, &[]).json();
    assert_eq!(finding(&found, "leftovers")["fix"], "axocoatl gc");
    assert!(left.exists());
    let fixed = home
        .axocoatl(&["doctor", "--fix", "--json"])
        .succeeds()
        .json();
    assert_eq!(finding(&fixed, "leftovers")["state"], "repaired");
    assert!(!left.exists());
}

#[test]
fn doctor_finds_a_home_that_cannot_be() {
    let home = Home::new();
    fs::write(home.path().join("data"), "a file").unwrap();
    let found = home.axocoatl(&["doctor", "--json"]).exits(1, &[]).json();
    assert_eq!(finding(&found, "data directory")["state"], "wrong");
    let log = home.audit_log();
    home.axocoatl(&["run", PROBE, "--input", "1"])
        .exits(125, &[log.to_str().unwrap()]);
}

#[test]
fn a_tier_that_is_ready_is_proved_by_a_container_that_leaves_nothing() {
    let home = Home::new();
    let json = home
        .axocoatl(&["tiers", "--json"])
        .succeeds_silently()
        .json();
    let oci = tier(&json, "oci");
    assert_eq!(oci["works"], true, "{oci}: see its fix");
    assert!(oci["took_us"].as_u64().unwrap() > 0);
    for trials in entries(&home.tmp()) {
        assert!(entries(&trials).is_empty(), "{trials:?} is left");
    }
    assert!(entries(&home.path()).is_empty());
}

#[test]
fn doctor_finds_tools_that_cannot_be_used() {
    let home = Home::new();
    add_tool(&home.user_tools(), "sound", "");
    let good = home.axocoatl(&["doctor", "--json"]).succeeds().json();
    assert_eq!(finding(&good, "tools")["state"], "good", "{good}");
    let broken = add_tool(&home.user_tools(), "broken", "[limits]\nmemry = \"1MiB\"\n");
    let found = home.axocoatl(&["doctor", "--json"]).exits(1, &[]).json();
    let finding = finding(&found, "tool broken");
    assert_eq!(finding["state"], "wrong");
    assert!(finding["detail"].as_str().unwrap().contains("limits.memry"));
    assert!(
        finding["fix"]
            .as_str()
            .unwrap()
            .contains(broken.to_str().unwrap())
    );
    let text = home.axocoatl(&["doctor"]).exits(1, &[]);
    assert!(text.out().contains("WRONG     tool broken"), "{text}");
}
