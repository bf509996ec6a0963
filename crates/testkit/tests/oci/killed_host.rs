//! The host process is killed at any moment. It is this program, started again.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{
    SOON, alone, cgroups, describe, gc, kill, lost, marked, none_within, orphans, runners, unowned,
};
use crate::site::{Dice, Site, TOOL_NAME, block_on, call, engine};

const HOME: &str = "AXO_TEST_HOST_HOME";
const MARK_OF_TOOLS: &str = "AXO_TEST_HOST_MARK";
const CALLERS: usize = 4;
const BEGUN: &str = "the calls begin";

/// Not a test: the host process. Started without its variables, it does nothing.
#[test]
fn host_process() {
    let (Ok(home), Ok(mark)) = (std::env::var(HOME), std::env::var(MARK_OF_TOOLS)) else {
        return;
    };
    block_on(async {
        let engine = Arc::new(engine(&PathBuf::from(home), 2, 32, None));
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "\n{BEGUN}").unwrap();
        stdout.flush().unwrap();
        drop(stdout);
        let callers = (0..CALLERS).map(|caller| {
            let (engine, mark) = (Arc::clone(&engine), mark.clone());
            tokio::spawn(async move {
                for turn in caller.. {
                    let (input, wall) = tool(turn);
                    // How it ends does not matter here.
                    let _ = engine.call(call(input, Some(&mark), wall)).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

/// What sleeps, forks, goes into the background, and does not want to end.
fn tool(turn: usize) -> (Value, Duration) {
    let input = match turn % 6 {
        0 => json!({"op": "sleep", "ms": 30}),
        1 => json!({"op": "fork_bomb", "count": 8, "hold_ms": 30}),
        2 => json!({"op": "daemonise", "seconds": 60, "streams": "closed", "hold_ms": 20}),
        3 => json!({"op": "hold_pipe", "seconds": 60}),
        4 => json!({"op": "ignore_signals", "how": "sleep"}),
        _ => json!({"op": "echo"}),
    };
    (input, Duration::from_millis(80))
}

struct Host {
    process: Child,
    mark: String,
}

impl Host {
    /// Starts one, and waits until its calls begin.
    #[expect(
        clippy::disallowed_methods,
        reason = "the host process is one of its own"
    )]
    fn start(site: &Site, number: usize) -> Self {
        let mark = format!("host-{}-{number}-end", std::process::id());
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_host::host_process", "--nocapture"])
            .env(HOME, site.path())
            .env(MARK_OF_TOOLS, &mark)
            .env(TOOL_NAME, crate::site::tool().as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == BEGUN),
            "the host process ended"
        );
        Self { process, mark }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn marked(&self) -> BTreeSet<u32> {
        marked(&self.mark)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_host_process_killed_at_any_moment_leaves_nothing() {
    let _alone = alone();
    let site = Site::new();
    let mut dice = Dice::new();
    let before = (cgroups(), unowned());
    let (mut busy, mut slowest) = (0, Duration::ZERO);
    for number in 0..100 {
        let mut host = Host::start(&site, number);
        std::thread::sleep(Duration::from_micros(dice.below(60_000)));
        host.process.kill().unwrap();
        let killed = Instant::now();
        // What it had started a moment before still shows.
        busy += usize::from(!host.marked().is_empty() || !orphans().is_empty());
        host.process.wait().unwrap();
        let left = || SOON.saturating_sub(killed.elapsed());
        none_within(left(), "tools live", || host.marked());
        none_within(left(), "runners live", orphans);
        none_within(left(), "cgroups are left", || {
            unowned().difference(&before.1).cloned().collect()
        });
        slowest = slowest.max(killed.elapsed());
    }
    assert_eq!(lost(&before.0), BTreeSet::new(), "cgroups are left");
    let told = gc(site.path(), true);
    assert_eq!(told.difference(&before.1).count(), 0, "gc finds {told:?}");
    println!("100 kills, {busy} with something running; the slowest was clear after {slowest:?}");
    assert!(busy > 30, "the kills came when nothing ran");
}

#[test]
fn a_host_process_killed_with_its_runners_leaves_cgroups_that_gc_removes() {
    let _alone = alone();
    let site = Site::new();
    let mut dice = Dice::new();
    let before = cgroups();
    let (mut found, mut killed_runners, mut slowest) = (0, 0, Duration::ZERO);
    let mut live = Vec::new();
    for number in 0..50 {
        let mut host = Host::start(&site, number);
        std::thread::sleep(Duration::from_micros(dice.below(60_000)));
        let mut all = runners(host.pid());
        host.process.kill().unwrap();
        let killed = Instant::now();
        all.extend(orphans());
        killed_runners += all.len();
        all.into_iter().for_each(kill);
        host.process.wait().unwrap();
        // Tools, and containers that were being made.
        let living = || &host.marked() | &orphans();
        let left = loop {
            let found = living();
            if found.is_empty() || killed.elapsed() >= SOON {
                break found;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        slowest = slowest.max(killed.elapsed());
        let who: Vec<String> = left.iter().map(|pid| describe(*pid)).collect();
        found += gc(site.path(), false).len();
        // What dies just now may hold its lock a little longer than it shows.
        if !lost(&before).is_empty() {
            found += gc(site.path(), false).len();
        }
        let after_gc = living();
        if !left.is_empty() {
            live.push(format!("{number}: {who:?}, after gc {after_gc:?}"));
            after_gc.into_iter().for_each(kill);
            none_within(SOON, "they live", living);
            gc(site.path(), false);
        }
        assert_eq!(lost(&before), BTreeSet::new(), "gc left them");
    }
    println!(
        "50 kills of {killed_runners} runners and their hosts: gc removed {found} cgroups; the \
         slowest was clear after {slowest:?}"
    );
    assert!(
        live.is_empty(),
        "after {} of 50 something lived: {live:#?}",
        live.len()
    );
    assert!(found > 0, "no runner was killed when it had a cgroup");
}
