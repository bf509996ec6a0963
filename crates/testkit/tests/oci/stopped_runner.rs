//! A runner is stopped in the middle of a call, as whoever may signal it can: it neither answers nor
//! ends by itself, and its sandbox must not last any longer for that.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use crate::host::{
    SOON, alone, cgroups_of, holders, marked, none_within, our_runners, runners, until,
};
use crate::site::{MINUTE, Site, block_on, call, chain};

/// A runner that was stopped. Dropped, it is killed, if it still lives: by a descriptor, for its number
/// may be another's by then.
struct StoppedRunner(OwnedFd);

impl StoppedRunner {
    fn stop(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let stopped = Self(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        pidfd_send_signal(&stopped.0, Signal::STOP).unwrap();
        stopped
    }
}

impl Drop for StoppedRunner {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// The time limit of the calls.
const WALL: Duration = Duration::from_secs(3);
/// What the engine gives a killed tool, ten seconds, and as much again for a host that is busy.
const MOST: Duration = Duration::from_secs(20);

#[test]
fn a_runner_that_is_stopped_is_killed_in_time_and_nothing_is_left_of_its_call() {
    let _alone = alone();
    let site = Site::new();
    let inputs = [
        json!({"op": "sleep", "seconds": 100}),
        // It ends by itself, before its time is up; nobody says so.
        json!({"op": "sleep", "ms": 1500}),
        json!({"op": "ignore_signals", "how": "sleep"}),
    ];
    let marks: Vec<String> = (0..inputs.len())
        .map(|number| format!("stopped-{}-{number}-end", std::process::id()))
        .collect();
    let all_marked = || -> BTreeSet<u32> { marks.iter().flat_map(|mark| marked(mark)).collect() };
    block_on(async {
        let engine = Arc::new(site.engine(0));
        let calls: Vec<_> = marks
            .iter()
            .zip(inputs)
            .map(|(mark, input)| {
                let (engine, mark) = (Arc::clone(&engine), mark.clone());
                tokio::spawn(async move { engine.call(call(input, Some(&mark), WALL)).await })
            })
            .collect();
        until("the tools run", || {
            marks.iter().all(|mark| !marked(mark).is_empty())
        });
        let groups: BTreeSet<_> = all_marked().into_iter().flat_map(cgroups_of).collect();
        let stopped: Vec<_> = our_runners().into_iter().map(StoppedRunner::stop).collect();
        let begun = Instant::now();
        assert_eq!(stopped.len(), calls.len(), "a runner each");
        assert!(!groups.is_empty(), "no cgroup was seen");
        for ended in calls {
            let ended = tokio::time::timeout(MOST + WALL, ended).await;
            let error = ended.expect("a call hangs").unwrap().unwrap_err();
            let told = chain(&error);
            println!("after {:?}: {told}", begun.elapsed());
            assert!(told.contains("no answer within"), "{told}");
        }
        none_within(5 * SOON, "runners live", our_runners);
        none_within(5 * SOON, "tools live", all_marked);
        none_within(5 * SOON, "cgroups are left", || {
            let left = groups.iter().filter(|path| path.exists());
            left.map(|path| (path.clone(), holders(path))).collect()
        });
        drop(stopped);
    });
}

/// The others' calls are not its concern.
#[test]
fn calls_beside_a_stopped_runner_go_on() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = Arc::new(site.engine(0));
        let mark = format!("beside-{}-end", std::process::id());
        let calling = {
            let (engine, mark) = (Arc::clone(&engine), mark.clone());
            let input = json!({"op": "sleep", "seconds": 100});
            tokio::spawn(async move { engine.call(call(input, Some(&mark), WALL)).await })
        };
        until("the tool runs", || !marked(&mark).is_empty());
        let us = std::process::id();
        let stopped: Vec<_> = runners(us).into_iter().map(StoppedRunner::stop).collect();
        assert_eq!(stopped.len(), 1);
        for n in 0..5 {
            let echo = call(json!({"op": "echo", "n": n}), None, MINUTE);
            let outcome = tokio::time::timeout(MOST, engine.call(echo)).await;
            let outcome = outcome.expect("a call beside it hangs").unwrap();
            assert!(outcome.termination.is_success(), "{outcome:?}");
            assert!(!calling.is_finished(), "the stopped one's call has ended");
        }
        drop(stopped);
        let ended = tokio::time::timeout(MOST, calling).await;
        ended.expect("the call hangs").unwrap().unwrap_err();
        none_within(5 * SOON, "it lives", || marked(&mark));
    });
}
