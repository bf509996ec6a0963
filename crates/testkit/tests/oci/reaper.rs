//! `gc` runs while calls do: it takes nothing of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::host::{Before, alone};
use crate::site::{MINUTE, Site, ask, block_on, call, chain};

/// The first call of a process opens what stays open.
async fn ask_once(site: &Site) {
    ask(&site.engine(0), json!({"op": "echo"})).await;
}

#[test]
fn calls_beside_a_busy_reaper_all_succeed() {
    let _alone = alone();
    let site = Site::new();
    block_on(ask_once(&site));
    let before = Before::now();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    axocoatl_isolation::reap_containers(false).unwrap();
                }
            });
        }
        let failed = block_on(async {
            let engine = Arc::new(site.engine(0));
            let callers = (0..16).map(|_| {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    let mut failed = Vec::new();
                    for n in 0..40 {
                        let input = json!({"op": "echo", "n": n});
                        match engine.call(call(input, None, MINUTE)).await {
                            Ok(outcome) if outcome.termination.is_success() => {}
                            Ok(outcome) => failed.push(format!("it {}", outcome.termination)),
                            Err(error) => failed.push(chain(&error)),
                        }
                    }
                    failed
                })
            });
            let mut failed = Vec::new();
            for caller in callers.collect::<Vec<_>>() {
                failed.extend(caller.await.unwrap());
            }
            failed
        });
        done.store(true, Ordering::Relaxed);
        assert!(
            failed.is_empty(),
            "{} of 640 failed: {failed:#?}",
            failed.len()
        );
    });
    before.nothing_came(0);
}
