//! A runner is killed: the call ends, its tool too, and what is left can be removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::{
    SOON, alone, cgroups, cgroups_of, holders, kill, lost, marked, none_within, orphans,
    our_runners, until,
};
use crate::site::{Dice, MINUTE, Site, ask, block_on, call, chain};

#[test]
fn a_call_whose_runner_is_killed_ends_at_once_and_its_cgroup_is_removed() {
    let _alone = alone();
    let site = Site::new();
    let mut outlived = Vec::new();
    for (number, input) in [
        json!({"op": "sleep", "seconds": 100}),
        json!({"op": "daemonise", "seconds": 100, "streams": "open", "hold_ms": 100_000}),
        json!({"op": "fork_bomb", "count": 16, "hold_ms": 100_000}),
        json!({"op": "ignore_signals", "how": "spin"}),
        // Among other things it asks not to be told of its parent's death.
        json!({"op": "ignore_signals", "how": "sleep"}),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = format!("runner-{}-{number}-end", std::process::id());
        let engine = Arc::new(site.engine(0));
        let (error, took, killed, groups) = block_on(async {
            let calling = {
                let (engine, mark) = (Arc::clone(&engine), mark.clone());
                tokio::spawn(async move { engine.call(call(input, Some(&mark), MINUTE)).await })
            };
            until("the tool runs", || !marked(&mark).is_empty());
            let groups = cgroups_of(*marked(&mark).first().unwrap());
            let runners = our_runners();
            assert_eq!(runners.len(), 1, "{runners:?}");
            let killed = Instant::now();
            runners.into_iter().for_each(kill);
            let ended = tokio::time::timeout(SOON, calling).await;
            let error = ended.expect("the call hangs").unwrap().unwrap_err();
            (error, killed.elapsed(), killed, groups)
        });
        println!("the call ended after {took:?}: {}", chain(&error));
        let mut living = marked(&mark);
        while !living.is_empty() && killed.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
            living = marked(&mark);
        }
        println!("its tool: {living:?} after {:?}", killed.elapsed());
        assert!(!groups.is_empty());
        // The engine sees that its runner is gone, and removes them.
        none_within(5 * SOON, "cgroups are left", || {
            let left = groups.iter().filter(|path| path.exists());
            left.map(|path| (path.clone(), holders(path))).collect()
        });
        none_within(SOON, "gc spares a tool", || marked(&mark));
        if !living.is_empty() {
            outlived.push(number);
        }
    }
    assert!(
        outlived.is_empty(),
        "the tools {outlived:?} outlived their runner"
    );
}

/// Also while it makes its container, when libcontainer's processes are half way.
#[test]
fn a_runner_killed_at_any_moment_leaves_no_process() {
    let _alone = alone();
    let site = Site::new();
    let mut dice = Dice::new();
    let before = cgroups();
    block_on(async {
        let engine = Arc::new(site.engine(0));
        ask(&engine, json!({"op": "echo"})).await;
        let (mut failed, mut hung, mut left) = (0, 0, Vec::new());
        for number in 0..100 {
            let mark = format!("moment-{}-{number}-end", std::process::id());
            let calling = {
                let (engine, mark) = (Arc::clone(&engine), mark.clone());
                let input = json!({"op": "sleep", "ms": 5});
                tokio::spawn(async move { engine.call(call(input, Some(&mark), MINUTE)).await })
            };
            while our_runners().is_empty() && !calling.is_finished() {}
            std::thread::sleep(Duration::from_micros(dice.below(20_000)));
            our_runners().into_iter().for_each(kill);
            match tokio::time::timeout(SOON, calling).await {
                Ok(ended) => failed += usize::from(ended.unwrap().is_err()),
                Err(_) => hung += 1,
            }
            let deadline = Instant::now() + SOON;
            let mut living = &marked(&mark) | &orphans();
            while !living.is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
                living = &marked(&mark) | &orphans();
            }
            if !living.is_empty() {
                let told = |pid: &u32| {
                    let read = |file: &str| {
                        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
                    };
                    format!("{} in {}", read("stat").trim(), read("wchan"))
                };
                left.push((number, living.iter().map(told).collect::<Vec<_>>()));
                living.into_iter().for_each(kill);
            }
        }
        println!("100 kills of a runner, {failed} of calls that had not ended");
        assert!(
            left.is_empty() && hung == 0,
            "{hung} calls hung; after {} kills something lives: {left:#?}",
            left.len()
        );
        assert!(failed > 20, "the kills came too late");
    });
    axocoatl_isolation::reap_containers(false).unwrap();
    assert_eq!(lost(&before), BTreeSet::new(), "gc left them");
}
