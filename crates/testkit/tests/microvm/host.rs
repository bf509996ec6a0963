//! What the host has that a machine could leave: processes, cgroups, mounts, sockets, locks of users.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long what has ended may take to be gone, on a processor that is emulated.
const SOON: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Everything at one moment, as lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host(BTreeSet<String>);

impl Host {
    pub(crate) fn now() -> Self {
        let parts = [processes(), cgroups(), mounts(), sockets(), users()];
        Self(parts.into_iter().flatten().collect())
    }

    /// What has come since `before`.
    pub(crate) fn since(&self, before: &Self) -> BTreeSet<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    /// Waits until nothing is left of what has come since then; tells how long that took.
    pub(crate) fn nothing_came(&self, when: &str) -> Duration {
        let start = Instant::now();
        loop {
            let left = Self::now().since(self);
            if left.is_empty() {
                return start.elapsed();
            }
            assert!(start.elapsed() < SOON, "{when}: left: {left:#?}");
            std::thread::sleep(PAUSE);
        }
    }
}

/// Every process that executes a program: all but the kernel's own, and those that have ended.
fn processes() -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let program = fs::read_link(entry.path().join("exe")).ok()?;
        Some(format!("process {pid} {}", program.display()))
    })
    .collect()
}

/// Firecracker's processes.
pub(crate) fn machines() -> usize {
    let is_one = |line: &String| line.ends_with("/firecracker") || line.ends_with("/jailer");
    processes().iter().filter(|line| is_one(line)).count()
}

/// Every cgroup that is named as ours are.
fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
                if entry.file_name().to_string_lossy().starts_with("axocoatl-") {
                    found.push(format!("cgroup {}", entry.path().display()));
                }
            }
        }
    }
    found
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(|line| format!("mount {line}")).collect()
}

/// Every Unix socket that has a name.
fn sockets() -> Vec<String> {
    let text = fs::read_to_string("/proc/net/unix").unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7));
    names.map(|name| format!("socket {name}")).collect()
}

/// Every lock of a machine's user.
fn users() -> Vec<String> {
    let Ok(file) = fs::metadata("/run/axocoatl/machine-users") else {
        return Vec::new();
    };
    let of = format!(":{} ", file.ino());
    let text = fs::read_to_string("/proc/locks").unwrap();
    let locks = text.lines().filter(|line| line.contains(&of));
    // Not with its number in this list, which others change.
    locks
        .filter_map(|line| Some(format!("lock {}", line.split_once(": ")?.1)))
        .collect()
}
