//! Containers that wait: for what they were made for, and no longer than that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axocoatl_isolation::{Engine, Size, ToolCall};
use serde_json::json;

use crate::crowd::crowd;
use crate::host::{Before, SOON, alone, kill, lives, none_within, our_runners, until};
use crate::site::{MINUTE, Site, answer, ask, block_on, call};

const WARM: usize = 3;

/// Makes a call, and waits for the pool to fill. Tells the runners that wait.
async fn filled(engine: &Engine) -> BTreeSet<u32> {
    ask(engine, json!({"op": "echo"})).await;
    settled()
}

/// The runners that wait, once there are as many as there should be for a while: one that has ended
/// its sandbox may be seen for a moment more.
fn settled() -> BTreeSet<u32> {
    until("as many wait as there should", || {
        (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(5));
            our_runners().len() == WARM
        })
    });
    our_runners()
}

fn gone(old: &BTreeSet<u32>) {
    none_within(SOON, "old containers wait", || {
        old.iter().copied().filter(|pid| lives(*pid)).collect()
    });
}

#[test]
fn what_waits_ends_when_the_configuration_changes() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = site.engine(WARM);
        let old = filled(&engine).await;
        site.configure(&["/probe"], &["NEW=yes"]);
        let found = ask(&engine, json!({"op": "env"})).await;
        assert_eq!(found["NEW"], "yes", "{found}");
        gone(&old);
        settled();
    });
    none_within(SOON, "they outlive the engine", our_runners);
}

#[test]
fn what_waits_ends_when_limits_change() {
    let _alone = alone();
    let site = Site::new();
    let limited = |mib: u64| -> ToolCall {
        let call = call(json!({"op": "echo"}), None, MINUTE);
        let mut options = (*call.options).clone();
        options.limits.memory = Some(Size::from_mib(mib));
        call.with_options(options)
    };
    block_on(async {
        let engine = Arc::new(site.engine(WARM));
        let old = filled(&engine).await;
        answer(engine.call(limited(77)).await);
        gone(&old);
        let second = settled();
        // Only the time limit is not the container's.
        answer(engine.call(limited(77)).await);
        assert_eq!(second.difference(&settled()).count(), 1, "not one was used");
        // Two kinds of call in turn, at once: what waits is of the last kind, or of both for a
        // moment, and never more of each than asked for.
        for round in 0..10 {
            let calls = (0..8).map(|n| {
                let (engine, call) = (Arc::clone(&engine), limited(64 + (n + round) % 2));
                tokio::spawn(async move { engine.call(call).await })
            });
            for call in calls.collect::<Vec<_>>() {
                answer(call.await.unwrap());
            }
        }
        answer(engine.call(limited(64)).await);
        settled();
    });
}

#[test]
fn no_more_wait_than_asked_for_and_none_without_an_engine() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let echo = |n| json!({"op": "echo", "n": n});
        ask(&site.engine(0), echo(0)).await;
        let before = Before::now();
        let engine = Arc::new(site.engine(WARM));
        crowd(&engine, 64, 16, echo, |n, found| assert_eq!(found["n"], n)).await;
        settled();
        drop(engine);
        none_within(SOON, "they outlive the engine", our_runners);
        before.nothing_came(0);
        // Dropped while the pool is being filled.
        for pause in 0..20 {
            let engine = site.engine(WARM);
            ask(&engine, echo(0)).await;
            tokio::time::sleep(Duration::from_millis(pause * 2)).await;
            drop(engine);
            none_within(SOON, "they outlive the engine", our_runners);
        }
        before.nothing_came(0);
    });
}

#[test]
fn a_waiting_container_whose_runner_was_killed_is_not_used() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = site.engine(WARM);
        filled(&engine).await;
        for how_many in [1, WARM] {
            let old: BTreeSet<u32> = settled().into_iter().take(how_many).collect();
            old.iter().copied().for_each(kill);
            gone(&old);
            for n in 0..2 * WARM {
                let found = ask(&engine, json!({"op": "echo", "n": n})).await;
                assert_eq!(found["n"], n);
            }
        }
        // At the very moment of the call it may fail, but it ends, and the pool recovers.
        let mut failed = 0;
        for _ in 0..40 {
            let old = settled();
            old.iter().copied().for_each(kill);
            for _ in 0..=WARM {
                let calling = engine.call(call(json!({"op": "echo"}), None, MINUTE));
                let ended = tokio::time::timeout(5 * SOON, calling).await;
                failed += usize::from(ended.expect("the call hangs").is_err());
            }
            gone(&old);
            filled(&engine).await;
        }
        println!("{failed} of 160 calls just after a kill failed");
    });
    axocoatl_isolation::reap_containers(false).unwrap();
}
