//! A host process with a standing of its own (real-time scheduling, a nice value, whom the kernel
//! kills first) gives its tools nothing better than an ordinary process has.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::host::{alone, runners, until};
use crate::site::{Site, TOOL_NAME, ask, block_on, engine, tool};

const HOME: &str = "AXO_TEST_PRIORITY_HOME";

/// `SCHED_OTHER`.
const ORDINARY: i64 = 0;
/// What the runner gives every sandbox.
const OOM_SCORE: &str = "500";
/// `IOPRIO_CLASS_NONE`: as its nice value says.
const NO_IO_CLASS: i64 = 0;
/// `IOPRIO_CLASS_IDLE`.
const IDLE_IO: i64 = 3;
const EPERM: i64 = 1;
const EACCES: i64 = 13;

/// Not a test: the host process. It tells what its tools are.
#[test]
fn host_process() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return;
    };
    block_on(async {
        let engine = engine(&home, 1, 8, None);
        let us = std::process::id();
        let mut found = Vec::new();
        // A cold container, then a warm one.
        for _ in 0..2 {
            found.push(ask(&engine, json!({"op": "priority"})).await);
            until("one waits", || runners(us).len() == 1);
        }
        println!("\nfound {}", Value::from(found));
        std::io::stdout().flush().unwrap();
    });
}

/// What the tools are of a host process that `set_up`, a shell's words, has made what it is.
#[expect(
    clippy::disallowed_methods,
    reason = "the host process is one of its own"
)]
fn tools_of(set_up: &str) -> Vec<Value> {
    let site = Site::new();
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{set_up} \"$0\" --exact priority::host_process --nocapture"
        ))
        .arg(this)
        .env(HOME, site.path())
        .env(TOOL_NAME, tool().as_str())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{set_up}: {told}");
    let found = told.lines().find_map(|line| line.strip_prefix("found "));
    let found: Vec<Value> = serde_json::from_str(found.expect("an answer")).unwrap();
    println!("{set_up}: {found:?}");
    assert_eq!(found.len(), 2);
    found
}

/// Whether this process may choose whom the kernel spares: without CAP_SYS_RESOURCE root may not, and
/// what it sets for others they may set back.
fn may_spare() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    effective >> CAP_SYS_RESOURCE & 1 == 1
}

#[test]
fn a_tool_has_nothing_of_its_engines_better_standing() {
    let _alone = alone();
    let spared = "echo -900 > /proc/self/oom_score_adj && exec";
    let set_ups = [
        "exec",
        "exec nice -n -5",
        "exec chrt --rr 1",
        "exec chrt --fifo 1 nice -n -5",
        "exec ionice -c 1 -n 0",
        "exec ionice -c 2 -n 0",
    ];
    for set_up in set_ups.into_iter().chain(may_spare().then_some(spared)) {
        for found in tools_of(set_up) {
            assert_eq!(found["policy"], ORDINARY, "{set_up}: {found}");
            assert_eq!(found["nice"], 0, "{set_up}: {found}");
            assert_eq!(found["io"], NO_IO_CLASS, "{set_up}: {found}");
            assert_eq!(found["oom_score_adj"], OOM_SCORE, "{set_up}: {found}");
            let raise = found["raise"].as_object().unwrap();
            assert_eq!(raise.len(), 5, "{found}");
            for (what, errno) in raise {
                let refused = [EPERM, EACCES].map(Some).contains(&errno.as_i64());
                let excepted = what == "oom_score_as_all" && !may_spare();
                assert!(
                    refused || excepted,
                    "{set_up}: raising {what} came to {errno}"
                );
            }
        }
    }
}

/// An engine that stands back does not push its tools ahead of itself.
#[test]
fn a_tool_stands_back_with_its_engine() {
    let _alone = alone();
    let set_up = "echo 900 > /proc/self/oom_score_adj && exec nice -n 7 ionice -c 3";
    for found in tools_of(set_up) {
        assert_eq!(found["nice"], 7, "{found}");
        assert_eq!(found["policy"], ORDINARY, "{found}");
        assert_eq!(found["io"], IDLE_IO, "{found}");
        assert_eq!(found["oom_score_adj"], "900", "{found}");
    }
}
