//! What the kernel counts for a user: all sandboxes of root are one user of the host's, so that what
//! one of them uses up is bounded, and is neither another's nor the host's.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify;
use serde_json::{Value, json};

use crate::host::{alone, until};
use crate::site::{Site, answer, block_on, call_with_mount, engine};

/// Takes all there is of `what`, in a sandbox, and meanwhile in another; tells how much each got, and
/// the `errno` that the first met. `beside` runs when the first has all that it gets.
fn use_up_twice(what: &str, beside: impl FnOnce()) -> (u64, i64, u64) {
    let site = Site::new();
    let shared = site.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let ask = |first: bool| {
        let wait = json!({"op": "use_up", "what": what, "most": 8000,
            "full": "/data/full", "until": "/data/enough"});
        let at_once = json!({"op": "use_up", "what": what, "most": 8000});
        call_with_mount(if first { wait } else { at_once }, &shared, "/data")
    };
    let (first, second) = block_on(async {
        let source = shared.canonicalize().unwrap();
        let engine = Arc::new(engine(site.path(), 0, 8, Some(&source)));
        let hog = {
            let (engine, call) = (Arc::clone(&engine), ask(true));
            tokio::spawn(async move { engine.call(call).await })
        };
        until("it has all it gets", || shared.join("full").exists());
        beside();
        let second = answer(engine.call(ask(false)).await);
        end_of(&shared);
        (answer(hog.await.unwrap()), second)
    });
    println!("{what}: {first}, and beside it {second}");
    let used = |found: &Value| found["used"].as_u64().unwrap();
    let errno = first["errno"].as_i64().unwrap_or_default();
    (used(&first), errno, used(&second))
}

/// Lets the first go.
fn end_of(shared: &Path) {
    std::fs::write(shared.join("enough"), "").unwrap();
}

const EAGAIN: i64 = 11;
const EMFILE: i64 = 24;
const ENOSPC: i64 = 28;

#[test]
fn inotify_instances_used_up_in_one_sandbox_are_left_for_others_and_the_host() {
    let _alone = alone();
    let of_the_host = || {
        // The host's user has 128 of them, unless somebody changed that.
        let ours: Vec<_> = (0..16)
            .map_while(|_| inotify::init(inotify::CreateFlags::CLOEXEC).ok())
            .collect();
        assert_eq!(ours.len(), 16, "the host has no inotify instances left");
    };
    let (first, errno, second) = use_up_twice("inotify_instances", of_the_host);
    assert_eq!(errno, EMFILE, "it met no limit of these");
    assert!((1..=16).contains(&first), "one sandbox had {first}");
    assert_eq!(second, first, "another was left {second}");
}

#[test]
fn inotify_watches_used_up_in_one_sandbox_are_left_for_others() {
    let _alone = alone();
    let (first, errno, second) = use_up_twice("inotify_watches", || ());
    assert_eq!(errno, ENOSPC, "it met no limit of these");
    assert!((1..=4096).contains(&first), "one sandbox had {first}");
    assert_eq!(second, first, "another was left {second}");
}

#[test]
fn pending_signals_used_up_in_one_sandbox_are_left_for_others() {
    let _alone = alone();
    let (first, errno, second) = use_up_twice("signals", || ());
    assert_eq!(errno, EAGAIN, "it met no limit of these");
    assert!((1..=1024).contains(&first), "one sandbox had {first}");
    assert_eq!(second, first, "another was left {second}");
}

#[test]
fn bytes_of_message_queues_used_up_in_one_sandbox_are_left_for_others() {
    /// What the probe's queues hold at most; what the kernel adds is counted, too.
    const QUEUE_BYTES: u64 = 10_000;
    const MOST_BYTES: u64 = 64 << 10;
    let _alone = alone();
    let (first, errno, second) = use_up_twice("queues", || ());
    assert_eq!(errno, EMFILE, "it met no limit of these");
    let fits = 1..=MOST_BYTES / QUEUE_BYTES;
    assert!(fits.contains(&first), "one sandbox had {first} queues");
    assert_eq!(second, first, "another was left {second}");
}
