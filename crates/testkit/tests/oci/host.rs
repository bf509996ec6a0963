//! What the host has: processes, cgroups, mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::{MARK, tool};

/// How long what has ended may take to be gone.
pub(crate) const SOON: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);

/// No other test of this program runs until this is dropped.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The one before has let its engine go; its last containers may take a moment.
    let start = Instant::now();
    while !our_runners().is_empty() && start.elapsed() < SOON {
        std::thread::sleep(PAUSE);
    }
    one
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) parent: u32,
    pub(crate) dead: bool,
    pub(crate) runner: bool,
}

/// Every process. One is a runner if it executes the runner; a container that waits does so, too.
pub(crate) fn processes() -> BTreeMap<u32, Process> {
    let one = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let dead = fields.next()?.starts_with(['Z', 'X']);
        let parent = fields.next()?.parse().ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let runner = !dead && program.to_string_lossy().contains("axo-runner");
        Some((
            pid,
            Process {
                parent,
                dead,
                runner,
            },
        ))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(one)
        .collect()
}

/// The runners that `of` started.
pub(crate) fn runners(of: u32) -> BTreeSet<u32> {
    let all = processes().into_iter();
    all.filter(|(_, process)| process.runner && process.parent == of)
        .map(|(pid, _)| pid)
        .collect()
}

pub(crate) fn our_runners() -> BTreeSet<u32> {
    runners(std::process::id())
}

/// Whether a name is that of a sandbox of ours.
fn is_ours(name: &str) -> bool {
    let of = |tool: &str| name.contains(&format!("axocoatl-{tool}-"));
    of(tool().as_str()) || of("csv-stats-image")
}

/// Whether a process is in a sandbox of ours, or holds one.
fn belongs_to_us(pid: u32) -> bool {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let held = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let mut held = held.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    is_ours(&cgroup) || held.any(|path| is_ours(&path.to_string_lossy()))
}

/// Runners of ours, and what they made, whom nobody supervises: who started them is gone.
pub(crate) fn orphans() -> BTreeSet<u32> {
    let all = processes();
    // Whoever takes over what is left behind is no program of ours.
    let top = |mut pid: u32| {
        while let Some(process) = all.get(&pid).filter(|process| process.runner) {
            pid = process.parent;
        }
        pid
    };
    all.iter()
        .filter(|(pid, process)| process.runner && top(**pid) <= 1 && belongs_to_us(**pid))
        .map(|(pid, _)| *pid)
        .collect()
}

/// The processes with this mark in their environment.
pub(crate) fn marked(mark: &str) -> BTreeSet<u32> {
    let entry = format!("{MARK}={mark}");
    let has = |pid: &u32| {
        // What is dead has no environment.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == entry.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(has)
        .collect()
}

pub(crate) fn lives(pid: u32) -> bool {
    processes().get(&pid).is_some_and(|process| !process.dead)
}

pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}

/// What a process is and waits for, for who reads that it should be gone.
pub(crate) fn describe(pid: u32) -> String {
    let read = |file: &str| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&text).replace(['\0', '\n', '\t'], " ")
    };
    let [stat, wait, kernel, cgroup] = ["stat", "wchan", "syscall", "cgroup"].map(read);
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    format!(
        "{pid} executes {}, waits in {wait} ({kernel}), is in {cgroup}, stat {stat}",
        program.display()
    )
}

/// The cgroups of our sandboxes.
pub(crate) fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut todo = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = todo.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if is_ours(&entry.file_name().to_string_lossy()) {
                found.insert(entry.path());
            } else if depth < 3 {
                todo.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// The cgroups of a process's sandbox.
pub(crate) fn cgroups_of(pid: u32) -> BTreeSet<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.rsplit('/').next())
        .filter(|name| name.starts_with("axocoatl-"))
        .collect();
    let all = cgroups().into_iter();
    all.filter(|path| names.iter().any(|name| path.ends_with(name)))
        .collect()
}

/// Who has a cgroup's directory open.
pub(crate) fn holders(cgroup: &Path) -> Vec<u32> {
    let holds = |pid: &u32| {
        let held = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        held.flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == cgroup))
    };
    processes().into_keys().filter(holds).collect()
}

/// Our cgroups whose runner is gone.
pub(crate) fn unowned() -> BTreeSet<PathBuf> {
    ours(axocoatl_isolation::reap_containers(true).unwrap())
}

fn ours(found: impl IntoIterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    let found = found.into_iter();
    found
        .filter(|path| is_ours(&path.to_string_lossy()))
        .collect()
}

/// Cgroups that came since `before`, and in which there is nobody but orphans.
pub(crate) fn lost(before: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let nobody = |path: &PathBuf| {
        let orphans = orphans();
        let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        path.exists()
            && members
                .lines()
                .filter_map(|line| line.parse().ok())
                .all(|pid| orphans.contains(&pid))
    };
    let mut left: BTreeSet<PathBuf> = cgroups().difference(before).cloned().collect();
    let deadline = Instant::now() + SOON;
    loop {
        left.retain(nobody);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `left` answers nothing, for at most `time`; tells how long that took.
pub(crate) fn none_within<T: std::fmt::Debug>(
    time: Duration,
    what: &str,
    left: impl Fn() -> BTreeSet<T>,
) -> Duration {
    let start = Instant::now();
    loop {
        let found = left();
        if found.is_empty() {
            return start.elapsed();
        }
        assert!(start.elapsed() < time, "{what} after {time:?}: {found:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits, and panics if it is in vain.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(
            start.elapsed() < 20 * SOON,
            "in vain: {what}; runners: {:?}",
            our_runners()
        );
        std::thread::sleep(PAUSE);
    }
}

pub(crate) fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The whole host as it was, to compare with.
pub(crate) struct Before {
    mounts: Vec<String>,
    descriptors: usize,
    cgroups: BTreeSet<PathBuf>,
    unowned: BTreeSet<PathBuf>,
}

impl Before {
    pub(crate) fn now() -> Self {
        Self {
            mounts: mounts(),
            descriptors: descriptors(),
            cgroups: cgroups(),
            unowned: unowned(),
        }
    }

    /// Nothing has come since then but `warm` containers that wait.
    pub(crate) fn nothing_came(&self, warm: usize) {
        none_within(SOON, "runners are left", || {
            let runners = our_runners();
            if runners.len() <= warm {
                BTreeSet::new()
            } else {
                runners
            }
        });
        none_within(SOON, "cgroups are left", || {
            unowned().difference(&self.unowned).cloned().collect()
        });
        assert_eq!(lost(&self.cgroups), BTreeSet::new(), "cgroups are left");
        none_within(SOON, "mounts are left", || {
            let now = mounts().into_iter();
            now.filter(|line| !self.mounts.contains(line)).collect()
        });
        // A container that waits: a socket, two pipes, the input file.
        /// What a first call opens for good: the runner's memory file, and Tokio's for processes.
        const ONCE: usize = 4;
        let most = self.descriptors + ONCE + 8 * warm;
        none_within(SOON, "descriptors are left", || {
            let open = descriptors();
            BTreeSet::from_iter((open > most).then_some((open, most)))
        });
    }
}

/// What `gc` tells through the real command: the cgroups of ours that it removed, or would.
pub(crate) fn gc(home: &Path, dry: bool) -> BTreeSet<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the command is the thing tested")]
    let mut command = std::process::Command::new(axocoatl());
    command.args(["gc", "--json"]).env("AXOCOATL_HOME", home);
    if dry {
        command.arg("--dry-run");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = told["cgroups"].as_array().unwrap().iter();
    ours(list.map(|path| path.as_str().unwrap().into()))
}

/// The command beside this program, built if it is not there.
fn axocoatl() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let directory = this.parent().unwrap().parent().unwrap();
    let program = directory.join("axocoatl");
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        #[expect(clippy::disallowed_methods, reason = "cargo builds the command")]
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--locked", "-p", "axocoatl"]);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    program
}
