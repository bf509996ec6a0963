//! Many calls: none is lost, and nothing is left of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use axocoatl_isolation::Engine;
use serde_json::{Value, json};

use crate::host::{Before, SOON, alone, none_within, our_runners};
use crate::site::{MINUTE, Site, answer, ask, block_on, call};

/// Makes `calls` calls, `at_once` at a time.
pub(crate) async fn crowd(
    engine: &Arc<Engine>,
    calls: u64,
    at_once: usize,
    input: fn(u64) -> Value,
    check: fn(u64, &Value),
) {
    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..at_once)
        .map(|_| {
            let (engine, next) = (Arc::clone(engine), Arc::clone(&next));
            tokio::spawn(async move {
                let mut made = 0_u64;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= calls {
                        return made;
                    }
                    let found = answer(engine.call(call(input(n), None, MINUTE)).await);
                    check(n, &found);
                    made += 1;
                }
            })
        })
        .collect();
    let mut made = 0;
    for caller in callers {
        made += caller.await.unwrap();
    }
    assert_eq!(made, calls);
}

fn echo(n: u64) -> Value {
    json!({"op": "echo", "n": n})
}

fn is_echo(n: u64, found: &Value) {
    assert_eq!(*found, echo(n), "the answer of another call");
}

#[test]
fn none_of_2000_calls_is_lost_and_nothing_is_left_of_them() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = Arc::new(site.engine(0));
        ask(&engine, echo(0)).await;
        none_within(SOON, "a runner is left", our_runners);
        let before = Before::now();
        let start = Instant::now();
        crowd(&engine, 2000, 32, echo, is_echo).await;
        println!(
            "2,000 calls, 32 at once: {:.1} s",
            start.elapsed().as_secs_f64()
        );
        before.nothing_came(0);
    });
}

/// The word that a call leaves wherever it can, and looks for.
fn residue(_: u64) -> Value {
    json!({"op": "residue", "canary": "axocoatl-canary-2b91"})
}

fn is_clean(_: u64, found: &Value) {
    assert_eq!(found["found"], false, "a container was used twice: {found}");
}

#[test]
fn no_warm_container_is_used_twice_and_nothing_is_left_of_300_calls() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        // The first call of a process opens what stays open: the runner's file, Tokio's signals.
        ask(&site.engine(0), echo(0)).await;
        let before = Before::now();
        let engine = Arc::new(site.engine(4));
        let start = Instant::now();
        crowd(&engine, 300, 4, residue, is_clean).await;
        println!(
            "300 calls, 4 warm, 4 at once: {:.1} s",
            start.elapsed().as_secs_f64()
        );
        // One after the other, so that nearly all are of the pool.
        let seen = Arc::new(AtomicUsize::new(0));
        for n in 0..40 {
            let waiting = our_runners();
            let found = ask(&engine, residue(n)).await;
            is_clean(n, &found);
            let used = waiting.difference(&our_runners()).count();
            seen.fetch_add(used, Ordering::Relaxed);
        }
        assert!(
            seen.load(Ordering::Relaxed) > 0,
            "no warm container was used"
        );
        before.nothing_came(4);
        drop(engine);
        none_within(SOON, "warm containers are left", our_runners);
        before.nothing_came(0);
    });
}
