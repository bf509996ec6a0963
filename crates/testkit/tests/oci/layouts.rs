//! Bundles made to have something mounted, written or executed where it does not belong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use axocoatl_isolation::{CallError, Engine, Outcome};
use serde_json::json;

use crate::host::{Before, alone, our_runners, until};
use crate::site::{MINUTE, Site, answer, ask, block_on, call, call_with_mount, chain, engine};

/// Everything about a directory of the host that could be changed.
fn state(directory: &Path) -> BTreeMap<PathBuf, (u64, u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match metadata.is_file() {
            true => fs::read(&path).unwrap(),
            false => Vec::new(),
        };
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let (mode, ctime) = (metadata.mode(), (metadata.ctime(), metadata.ctime_nsec()));
        all.insert(path, (metadata.ino(), mode, ctime.0, ctime.1, content));
    }
    all
}

/// A directory of the host that a hostile bundle would have.
fn outside(site: &Site) -> PathBuf {
    let outside = site.path().join("outside");
    fs::create_dir_all(outside.join("shm")).unwrap();
    fs::write(outside.join("precious"), "host").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    outside
}

fn refused(outcome: Result<Outcome, CallError>, words: &[&str]) -> String {
    let error = match outcome {
        Ok(outcome) => panic!("it ran: {outcome:?}"),
        Err(error) => chain(&error),
    };
    assert!(words.iter().any(|word| error.contains(word)), "{error}");
    error
}

const LINK: &[&str] = &["symbolic link"];

#[test]
fn a_root_whose_mount_points_lead_elsewhere_is_refused() {
    let _alone = alone();
    for place in ["dev", "proc", "sys", "tmp", "axocoatl"] {
        for relative in [false, true] {
            let site = Site::new();
            let outside = outside(&site);
            let target = match relative {
                false => outside.clone(),
                true => PathBuf::from("../../outside"),
            };
            let link = site.rootfs().join(place);
            fs::remove_dir(&link).unwrap();
            symlink(&target, &link).unwrap();
            let before = (Before::now(), state(&outside), state(&site.rootfs()));
            block_on(async {
                let engine = site.engine(2);
                let echo = call(json!({"op": "echo"}), None, MINUTE);
                refused(engine.call(echo).await, LINK);
                assert_eq!(our_runners().len(), 0, "something was made");
            });
            assert_eq!(state(&outside), before.1, "{place}: the host was changed");
            assert_eq!(
                state(&site.rootfs()),
                before.2,
                "{place}: the bundle was changed"
            );
            before.0.nothing_came(0);
        }
    }
}

#[test]
fn a_mount_whose_target_leads_elsewhere_is_refused() {
    let _alone = alone();
    for (link, target) in [("data", "/data"), ("a", "/a/b"), ("data", "/data/x/y")] {
        let site = Site::new();
        let outside = outside(&site);
        let path = site.rootfs().join(link);
        let _ = fs::remove_dir(&path);
        symlink(&outside, &path).unwrap();
        let granted = site.path().join("granted");
        fs::create_dir(&granted).unwrap();
        let before = state(&outside);
        block_on(async {
            let engine = engine(site.path(), 0, 8, Some(&granted.canonicalize().unwrap()));
            let echo = call_with_mount(json!({"op": "echo"}), &granted, target);
            refused(engine.call(echo).await, LINK);
            assert_eq!(our_runners().len(), 0, "something was made");
        });
        assert_eq!(state(&outside), before, "{target}: the host was changed");
    }
}

/// It was a directory when it was granted.
#[test]
fn a_mount_whose_source_became_a_link_is_refused() {
    let _alone = alone();
    // The source itself, and a directory on the way to it.
    for replaced in ["way/granted", "way"] {
        let site = Site::new();
        let outside = outside(&site);
        fs::create_dir_all(outside.join("granted")).unwrap();
        fs::write(outside.join("granted/precious"), "host").unwrap();
        let granted = site.path().join("way/granted");
        fs::create_dir_all(&granted).unwrap();
        block_on(async {
            let source = granted.canonicalize().unwrap();
            let engine = engine(site.path(), 1, 8, Some(&source));
            // With the second a container of the first is there, made with the directory.
            for _ in 0..2 {
                let echo = call_with_mount(json!({"op": "echo", "n": 1}), &granted, "/data");
                assert_eq!(answer(engine.call(echo).await)["n"], 1);
                until("one waits", || our_runners().len() == 1);
            }
            let reads = json!({"op": "write", "path": "/data/written", "text": "x"});
            let attempt = call_with_mount(reads, &granted, "/data");
            let replaced = site.path().join(replaced);
            let target = match replaced.ends_with("granted") {
                true => outside.join("granted"),
                false => outside.clone(),
            };
            fs::rename(&replaced, site.path().join("moved")).unwrap();
            symlink(target, &replaced).unwrap();
            let before = state(&outside);
            println!("{}", refused(engine.call(attempt).await, LINK));
            assert_eq!(state(&outside), before, "the host was changed");
        });
    }
}

/// What was hashed must be what runs.
#[test]
fn a_mount_over_the_program_is_refused() {
    let _alone = alone();
    let site = Site::new();
    let rootfs = site.rootfs();
    fs::create_dir_all(rootfs.join("opt/tool")).unwrap();
    fs::create_dir(rootfs.join("bin")).unwrap();
    fs::rename(rootfs.join("probe"), rootfs.join("opt/tool/probe")).unwrap();
    symlink("../opt/tool/probe", rootfs.join("bin/probe")).unwrap();
    site.configure(&["probe"], &[]);
    let granted = site.path().join("granted");
    fs::create_dir(&granted).unwrap();
    fs::copy(rootfs.join("opt/tool/probe"), granted.join("probe")).unwrap();
    block_on(async {
        let engine = engine(site.path(), 0, 8, Some(&granted.canonicalize().unwrap()));
        for target in ["/bin", "/opt", "/opt/tool"] {
            let echo = call_with_mount(json!({"op": "echo"}), &granted, target);
            refused(engine.call(echo).await, &["cover the program"]);
            assert_eq!(our_runners().len(), 0, "something was made");
        }
        let beside = call_with_mount(json!({"op": "echo", "n": 1}), &granted, "/data");
        assert_eq!(answer(engine.call(beside).await)["n"], 1);
    });
}

#[test]
fn other_links_and_files_in_the_way_are_refused() {
    let _alone = alone();
    let echo = || call(json!({"op": "echo"}), None, MINUTE);
    let attempt = |change: fn(&Site, &Path), words: &[&str]| {
        let site = Site::new();
        let outside = outside(&site);
        let engine: Engine = site.engine(0);
        change(&site, &outside);
        let before = state(&outside);
        let told = block_on(async {
            let told = refused(engine.call(echo()).await, words);
            assert_eq!(our_runners().len(), 0, "something was made");
            told
        });
        assert_eq!(state(&outside), before, "the host was changed");
        println!("{told}");
    };
    // The root file system itself.
    attempt(
        |site, outside| {
            fs::rename(site.rootfs(), outside.join("root")).unwrap();
            symlink(outside.join("root"), site.rootfs()).unwrap();
        },
        LINK,
    );
    attempt(
        |site, outside| {
            let config = site.bundle().join("config.json");
            fs::rename(&config, outside.join("config.json")).unwrap();
            symlink(outside.join("config.json"), &config).unwrap();
        },
        &["config.json"],
    );
    // A link to nowhere, which a mount would follow once something is there.
    attempt(
        |site, outside| {
            fs::remove_dir(site.rootfs().join("dev")).unwrap();
            symlink(outside.join("absent"), site.rootfs().join("dev")).unwrap();
        },
        LINK,
    );
    attempt(
        |site, _| {
            fs::remove_dir(site.rootfs().join("sys")).unwrap();
            fs::write(site.rootfs().join("sys"), "").unwrap();
        },
        &["not a directory"],
    );
    // A link in a loop.
    attempt(
        |site, _| {
            fs::remove_dir(site.rootfs().join("proc")).unwrap();
            symlink("proc", site.rootfs().join("proc")).unwrap();
        },
        LINK,
    );
}

/// A link among what is mounted: `/dev/shm` is on a fresh file system, whatever the root has there.
#[test]
fn what_is_below_a_mount_point_does_not_matter() {
    let _alone = alone();
    let site = Site::new();
    let outside = outside(&site);
    symlink(outside.join("shm"), site.rootfs().join("dev/shm")).unwrap();
    symlink(outside.join("precious"), site.rootfs().join("dev/null")).unwrap();
    symlink(
        outside.join("precious"),
        site.rootfs().join("axocoatl/input.json"),
    )
    .unwrap();
    symlink(
        outside.join("out"),
        site.rootfs().join("axocoatl/output.json"),
    )
    .unwrap();
    let before = state(&outside);
    block_on(async {
        let engine = site.engine(0);
        let found = ask(&engine, json!({"op": "echo", "n": 1})).await;
        assert_eq!(found["n"], 1);
        ask(
            &engine,
            json!({"op": "write", "path": "/dev/shm/x", "text": "x"}),
        )
        .await;
        let found = ask(&engine, json!({"op": "output_file"})).await;
        assert_eq!(found["from"], "file", "{found}");
    });
    assert_eq!(state(&outside), before, "the host was changed");
}

/// CVE-2019-5736: the program is whatever runs the container.
#[test]
fn a_program_that_is_the_runner_gets_nothing() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = site.engine(1);
        ask(&engine, json!({"op": "echo"})).await;
        let runner = || {
            let mut program = None;
            // Whichever is looked at may be ending just then.
            until("one waits", || {
                let read = |pid: &_| fs::read(format!("/proc/{pid}/exe")).ok();
                program = our_runners().iter().find_map(read);
                program.is_some()
            });
            program.unwrap()
        };
        let genuine = runner();
        let rootfs = site.rootfs();
        // In the root file system something that passes for the interpreter lies in wait.
        fs::create_dir_all(rootfs.join("proc/self")).unwrap();
        fs::copy(rootfs.join("probe"), rootfs.join("proc/self/exe")).unwrap();
        for (name, text) in [
            ("script", "#!/proc/self/exe\n"),
            ("echo-script", "#!/proc/self/exe echo\n"),
            ("thread-script", "#!/proc/thread-self/exe\n"),
        ] {
            fs::write(rootfs.join(name), text).unwrap();
            fs::set_permissions(rootfs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink("/proc/self/exe", rootfs.join("link")).unwrap();
        symlink("/proc/1/exe", rootfs.join("first")).unwrap();
        for program in [
            "/script",
            "/echo-script",
            "/thread-script",
            "/link",
            "/first",
            "/proc/self/exe",
        ] {
            site.configure(&[program], &[]);
            let input = json!({"op": "echo", "by": "the tool"});
            let outcome = engine.call(call(input, None, MINUTE)).await;
            match outcome {
                Ok(outcome) => println!(
                    "{program}: {} with {:?} {:?}",
                    outcome.termination,
                    String::from_utf8_lossy(&outcome.stdout),
                    String::from_utf8_lossy(&outcome.stderr)
                ),
                Err(error) => println!("{program}: refused: {}", chain(&error)),
            }
        }
        fs::remove_dir_all(rootfs.join("proc/self")).unwrap();
        site.configure(&["/script"], &[]);
        refused(
            engine.call(call(json!({}), None, MINUTE)).await,
            &["interpreter", "not of its root file system"],
        );
        site.configure(&["/probe"], &[]);
        ask(&engine, json!({"op": "echo"})).await;
        assert!(runner() == genuine, "the runner was changed");
    });
}
