//! Threat 34: calls that begin with clones of one stored machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axo_core::chain;
use axocoatl_isolation::{Size, machines};
use serde_json::Value;

use crate::common::block_on;
use crate::site::{Site, ask, data, tool};

/// How wrong a machine's clock may be, in seconds: it tells whole ones.
const WRONG: i64 = 2;
/// How long a machine is stored before it goes on, so that a clock that was not set is wrong by more.
const STORED: Duration = Duration::from_secs(6);

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

fn number(answer: &Value, key: &str) -> i64 {
    answer[key]
        .as_i64()
        .unwrap_or_else(|| panic!("{key}: {answer}"))
}

#[test]
fn clones_of_a_stored_machine_differ_in_what_must_be_new_and_have_the_right_time() {
    let site = Site::new();
    let engine = site.engine();
    let (first, second, booted) = block_on(async {
        if let Err(error) = engine.check(&tool()).await {
            panic!("{}", chain(&error));
        }
        let stored = now();
        tokio::time::sleep(STORED).await;
        let timed = async |memory| {
            let before = now();
            let answer = ask(&engine, memory).await;
            println!("{answer}");
            let told = number(&answer, "now");
            let right = before - WRONG..=now() + WRONG;
            assert!(right.contains(&told), "{told} is not within {right:?}");
            (before, answer)
        };
        let (_, first) = timed(None).await;
        let (_, second) = timed(None).await;
        // They are clones, and no machines that booted: their containers are older than their calls,
        // and as old as each other to the tick.
        for clone in [&first, &second] {
            let made = number(clone, "made");
            assert!(made <= stored, "made at {made}, and stored at {stored}");
        }
        assert_eq!(number(&first, "began"), number(&second, "began"));
        // With other limits there is no snapshot.
        let (before, booted) = timed(Some(Size::from_mib(65))).await;
        let made = number(&booted, "made");
        assert!(
            made >= before - WRONG,
            "made at {made}, and called at {before}"
        );
        (first, second, booted)
    });
    for key in ["random", "uuid", "boot_id"] {
        let of = |answer: &Value| answer[key].as_str().unwrap().to_owned();
        let all = BTreeSet::from([of(&first), of(&second), of(&booted)]);
        assert_eq!(all.len(), 3, "{key} is the same in two machines: {all:?}");
        assert!(all.iter().all(|text| text.len() >= 32), "{key}: {all:?}");
    }
    // A snapshot that is of no use is removed.
    assert_eq!(stored(&site), 1);
}

/// Machines that are stored.
fn stored(site: &Site) -> usize {
    let kept = machines::kept(&data(site.path())).unwrap();
    let snapshots = kept.iter().find(|files| files.what == "snapshots");
    snapshots.map_or(0, |files| files.count)
}

/// As a snapshot tells its memory from others.
fn identity(file: &File) -> String {
    let of = file.metadata().unwrap();
    format!("{}-{}.{:09}", of.ino(), of.ctime(), of.ctime_nsec())
}

/// It is restored, and is no machine then.
#[test]
fn a_stored_machine_with_another_memory_is_removed_and_costs_no_call() {
    let site = Site::new();
    let engine = site.engine();
    block_on(async {
        let store = async || {
            if let Err(error) = engine.check(&tool()).await {
                panic!("{}", chain(&error));
            }
            assert_eq!(stored(&site), 1);
        };
        store().await;
        let directory = data(site.path()).join("microvm/snapshots");
        let mut places = std::fs::read_dir(&directory)
            .unwrap()
            .map(|e| e.unwrap().path());
        let memory = places.find_map(|place| {
            let file = place.join("memory");
            file.is_file().then_some(file)
        });
        let path = memory.unwrap();
        let memory = File::options().write(true).open(&path).unwrap();
        let before = identity(&memory);
        let size = memory.metadata().unwrap().len();
        memory.set_len(0).unwrap();
        memory.set_len(size).unwrap();
        // As if it had been damaged where nobody sees it.
        let digests = path.with_file_name("digests.json");
        let told = std::fs::read_to_string(&digests).unwrap();
        assert!(told.contains(&before), "{told} has no {before}");
        std::fs::write(&digests, told.replace(&before, &identity(&memory))).unwrap();
        let before = now();
        let booted = ask(&engine, None).await;
        let made = number(&booted, "made");
        assert!(made >= before - WRONG, "made at {made}, called at {before}");
        assert_eq!(stored(&site), 0, "it is found again by the next call");
        store().await;
        let stored_at = now();
        tokio::time::sleep(STORED).await;
        let made = number(&ask(&engine, None).await, "made");
        assert!(made <= stored_at, "made at {made}, stored at {stored_at}");
        assert_eq!(stored(&site), 1);
    });
}
