//! Removing what killed runners left: a cgroup of our name whose lock is free.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupHost, PREFIX};

/// Removes the cgroups that any engine of this host's has left; see [`reap_of`]. Whether sandboxes can
/// be made now does not matter.
///
/// # Errors
/// If the host's cgroups cannot be listed.
pub(crate) fn reap(dry_run: bool) -> io::Result<Vec<PathBuf>> {
    reap_in(&CgroupHost::all_parents()?, dry_run, DYING)
}

/// Removes the cgroups whose runner is gone, where `host` has its sandboxes, and kills what is in
/// them.
///
/// # Errors
/// If a directory that may hold some cannot be listed.
pub fn reap_of(host: &CgroupHost) -> io::Result<Vec<PathBuf>> {
    // A call waits for this, and what dies just now the next reaper finds.
    reap_in(&host.parents(), false, Duration::ZERO)
}

/// Removes what is left of one sandbox, if its lock is free. Whether nothing is left.
pub(crate) fn reap_sandbox(host: &CgroupHost, id: &str) -> bool {
    let directories = host.parents().into_iter().map(|parent| parent.join(id));
    directories
        .filter(|directory| directory.exists() && !reap_one(directory, false))
        .count()
        == 0
}

/// With `dry_run`, only finds them. Answers their paths. What is held is tried again after `patience`.
fn reap_in(parents: &[PathBuf], dry_run: bool, patience: Duration) -> io::Result<Vec<PathBuf>> {
    let mut ours = Vec::new();
    for parent in parents {
        for entry in std::fs::read_dir(parent)? {
            let entry = entry?;
            if is_ours(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_dir() {
                ours.push(entry.path());
            }
        }
    }
    let reap = |path: &PathBuf| reap_one(path, dry_run);
    let (mut dead, held): (Vec<_>, Vec<_>) = ours.into_iter().partition(reap);
    // A runner that was killed this moment holds its locks until the kernel has closed all it had.
    if !dry_run && !patience.is_zero() && !held.is_empty() {
        std::thread::sleep(patience);
        dead.extend(held.into_iter().filter(reap));
    }
    Ok(dead)
}

/// Whether this is the name of a directory that a runner of ours makes and locks. Systemd's scopes are
/// systemd's: they go with their last process, and nobody locks them.
fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && !name.ends_with(".scope")
}

/// Directories of cgroup v2 that sandboxes lie in, wherever.
pub(super) fn holders(root: &Path) -> Vec<PathBuf> {
    /// Most cgroups that are looked at.
    const MAX_LOOKED_AT: usize = 16_384;
    let mut holders = Vec::new();
    let mut todo = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(directory) = todo.pop() {
        looked_at += 1;
        if looked_at > MAX_LOOKED_AT {
            tracing::warn!("there are more than {MAX_LOOKED_AT} cgroups; not all are looked at");
            break;
        }
        // What is removed meanwhile, or hidden from us, holds none of ours.
        let entries = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut holds = false;
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            match is_ours(&entry.file_name().to_string_lossy()) {
                true => holds = true,
                false => todo.push(entry.path()),
            }
        }
        if holds {
            holders.push(directory);
        }
    }
    holders
}

/// How long the kernel may take over closing what a killed runner had open.
const DYING: Duration = Duration::from_millis(50);
/// How long a runner may take between making a directory and locking it.
const MAKING: Duration = Duration::from_millis(20);

/// Whether a directory had no runner, and is removed if it is to be. It stays locked meanwhile: a
/// runner that has just made it does not get the lock, and makes another.
fn reap_one(directory: &Path, dry_run: bool) -> bool {
    let lock = || {
        let file = File::open(directory).ok()?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        locked.then_some(file)
    };
    let Some(locked) = lock() else {
        return false;
    };
    if !dry_run {
        return remove(directory);
    }
    // One that was made this moment is not locked yet; only looking must not call it dead.
    drop(locked);
    std::thread::sleep(MAKING);
    lock().is_some()
}

fn remove(directory: &Path) -> bool {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match std::fs::remove_dir(directory) {
            Ok(()) => return true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return true,
            Err(_) => {}
        }
        // Cgroup v2 kills all at once, and nobody else.
        if std::fs::write(directory.join("cgroup.kill"), "1").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let members = std::fs::read_to_string(directory.join("cgroup.procs"));
        for pid in members.unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_ours_that_nobody_holds_are_reaped() {
        let home = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = home.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (dead, living) = (make("axocoatl-dead"), make("axocoatl-living"));
        make("another");
        // Nobody locks it, and its sandbox lives.
        let scope = make("axocoatl-living.scope");
        let held = File::open(&living).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let parents = [home.path().to_owned()];
        let found = |dry_run| reap_in(&parents, dry_run, DYING).unwrap();
        assert_eq!(found(true), std::slice::from_ref(&dead));
        assert!(dead.exists());
        assert_eq!(found(false), std::slice::from_ref(&dead));
        assert!(!dead.exists() && living.exists() && scope.exists());
        assert!(home.path().join("another").exists());
    }

    /// A program that makes cgroups itself may have run in another service than `gc` does.
    #[test]
    fn sandboxes_are_found_wherever_they_lie() {
        let home = tempfile::tempdir().unwrap();
        for path in [
            "system.slice/axocoatl-a",
            "user.slice/user-0.slice/axocoatl-b/inner",
            "system.slice/axocoatl-c.scope",
            "init.scope",
        ] {
            std::fs::create_dir_all(home.path().join(path)).unwrap();
        }
        let mut found = holders(home.path());
        found.sort();
        let expected = ["system.slice", "user.slice/user-0.slice"];
        assert_eq!(found, expected.map(|path| home.path().join(path)));
    }
}
