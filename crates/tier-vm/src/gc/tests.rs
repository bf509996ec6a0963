//! What is removed, and what is not.

use std::fs::{self, File};
use std::os::fd::AsFd;

use serde_json::json;

use super::*;
use crate::disk::Mounted;
use crate::disk_of;
use crate::files::Aside;

fn disk(data: &Path, digit: char) -> File {
    let tree = tempfile::tempdir().unwrap();
    let root = File::open(tree.path()).unwrap();
    disk_of(data, &digit.to_string().repeat(64), root.as_fd()).unwrap()
}

#[test]
fn only_what_nobody_wants_or_uses_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let places = Places::of(data.path());
    let used = disk(data.path(), 'a');
    drop((disk(data.path(), 'b'), disk(data.path(), 'c')));
    // Left by makers: one that lives, one that died long ago, one that died or began just now.
    let living = Aside::file(&places.disks()).unwrap();
    let dead = places.disks().join(".new-dead");
    let new = places.disks().join(".new-new");
    for path in [&dead, &new] {
        fs::write(path, "half").unwrap();
    }
    let old = SystemTime::now() - MAKING * 2;
    File::open(&dead).unwrap().set_modified(old).unwrap();
    let failed = places.disks().join("d.squashfs.lock");
    fs::write(&failed, "").unwrap();
    fs::create_dir_all(places.initramfs()).unwrap();
    let initramfs = places.initramfs().join("old.cpio");
    fs::write(&initramfs, "old").unwrap();

    let stored = places.snapshots().join("of-no-installation");
    fs::create_dir_all(&stored).unwrap();
    fs::write(stored.join("digests.json"), "{}").unwrap();

    let keep = |digest: &str| digest.starts_with('b');
    let collect = |dry_run| {
        let garbage = gc(data.path(), data.path(), &keep, dry_run).unwrap();
        garbage
            .into_iter()
            .map(|garbage| garbage.path)
            .collect::<Vec<_>>()
    };
    let c = places.disks().join(disk::name(&"c".repeat(64)));
    let expected = [initramfs, stored, dead, c.clone()];
    assert_eq!(collect(true), expected);
    assert!(expected.iter().all(|path| path.exists()));
    assert_eq!(collect(false), expected);
    assert!(!expected.iter().any(|path| path.exists()));
    assert!(living.path().exists() && new.exists() && !failed.exists());
    assert!(!lock_of(&c).exists());
    assert!(collect(false).is_empty());
    drop(used);
    assert_eq!(
        collect(false),
        [places.disks().join(disk::name(&"a".repeat(64)))]
    );
}

#[test]
fn snapshots_go_with_their_installation_and_with_time() {
    let data = tempfile::tempdir().unwrap();
    let places = Places::of(data.path());
    let known = |digit: char| {
        let file = disk(data.path(), digit);
        Mounted::of(&digit.to_string().repeat(64), &file).unwrap()
    };
    let (mounted, gone) = (known('a'), known('b'));
    fs::remove_file(places.disks().join(&gone.name)).unwrap();
    drop((disk(data.path(), 'b'), disk(data.path(), 'c')));
    let stored = |name: &str, unused: Duration, disk: &Mounted| {
        let place = places.snapshots().join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("memory"), "pages").unwrap();
        let digests = place.join("digests.json");
        let told = json!({
            "state": "", "state_bytes": 0, "memory": "", "memory_bytes": 5, "disks": [disk],
        });
        fs::write(&digests, told.to_string()).unwrap();
        let used = SystemTime::now() - unused;
        let file = File::options().append(true).open(&digests).unwrap();
        file.set_modified(used).unwrap();
        place
    };
    let day = Duration::from_secs(24 * 3600);
    let left = [
        stored("now-a", day, &mounted),
        stored("now-b", 40 * day, &mounted),
        stored("old-a", day, &mounted),
        stored("now-c", day, &mounted),
        // Another of the name is there.
        stored("now-d", day, &gone),
    ];
    // Its removal was cut short.
    fs::remove_file(left[3].join("digests.json")).unwrap();
    let mut sweep = Sweep::new(false);
    sweep.snapshots(&places, "now-").unwrap();
    assert_eq!(
        left.map(|place| place.exists()),
        [true, false, false, false, false]
    );
    assert_eq!(sweep.garbage.len(), 4);
    sweep.disks(&places, &|_| false).unwrap();
    let is_there = |digit: &str| places.disks().join(disk::name(&digit.repeat(64))).exists();
    assert!(is_there("a"), "what is mounted stays");
    assert!(!is_there("b") && !is_there("c"));
}

#[test]
fn what_something_takes_is_what_the_disk_gives_for_it() {
    let home = tempfile::tempdir().unwrap();
    let memory = File::create(home.path().join("memory")).unwrap();
    memory.set_len(1 << 30).unwrap();
    fs::write(home.path().join("state"), vec![7; 64 << 10]).unwrap();
    let bytes = size(home.path()).unwrap();
    assert!((64 << 10..1 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn an_engine_that_begins_removes_what_dead_ones_were_making_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    abandoned(data.path()).unwrap();
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    let places = Places::of(data.path());
    let disk = disk(data.path(), 'a').metadata().unwrap();
    let old = SystemTime::now() - MAKING * 2;
    let left = [
        places.snapshots().join(".new-dead"),
        places.disks().join(".new-dead"),
    ];
    for path in &left {
        fs::create_dir_all(path).unwrap();
        File::open(path).unwrap().set_modified(old).unwrap();
    }
    let living = Aside::file(&places.disks()).unwrap();
    living.file_of().set_modified(old).unwrap();
    // Somebody else does it.
    let lock = lock::wait(&places.lock(), "testing", Duration::ZERO).unwrap();
    abandoned(data.path()).unwrap();
    assert!(left.iter().all(|path| path.exists()));
    drop(lock);
    abandoned(data.path()).unwrap();
    assert!(!left.iter().any(|path| path.exists()));
    assert!(living.path().exists());
    let kept = fs::metadata(places.disks().join(disk::name(&"a".repeat(64)))).unwrap();
    assert_eq!(kept.ino(), disk.ino());
}

#[test]
fn nothing_is_there_to_remove_where_nothing_is() {
    let data = tempfile::tempdir().unwrap();
    let garbage = gc(data.path(), data.path(), &|_| false, false).unwrap();
    assert_eq!(garbage, []);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn whoever_wants_a_disk_gets_it_whatever_is_removed() {
    let data = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let disk = disk(data.path(), 'e');
                        assert_eq!(disk.metadata().unwrap().len() % 4096, 0);
                        assert!(disk.metadata().unwrap().len() > 0);
                    }
                })
            })
            .collect();
        while users.iter().any(|user| !user.is_finished()) {
            gc(data.path(), data.path(), &|_| false, false).unwrap();
        }
    });
}
