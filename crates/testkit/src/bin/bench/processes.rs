//! The processes of sandboxes, as the kernel tells.

use std::collections::HashMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// How often it is looked whether enough wait.
const POLL: Duration = Duration::from_millis(2);

/// A runner that waits, and the processes beneath it.
pub(crate) type Sandbox = Vec<u32>;

/// The sandboxes of this process: its children that have living children of their own. A runner that
/// is clearing up has none any more.
pub(crate) fn sandboxes() -> anyhow::Result<Vec<Sandbox>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        if let Some(parent) = living_parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let of = |pid: u32| children.get(&pid).map_or(&[][..], Vec::as_slice);
    let sandbox = |runner: u32| {
        let mut all = vec![runner];
        let mut at = 0;
        while let Some(pid) = all.get(at) {
            all.extend(of(*pid));
            at += 1;
        }
        all
    };
    Ok(of(std::process::id())
        .iter()
        .map(|runner| sandbox(*runner))
        .filter(|all| all.len() > 1)
        .collect())
}

/// The parent of a process, if that is there and no zombie.
fn living_parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, those included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

/// Waits until as many sandboxes of this process are there as `enough` says, for so long at most.
pub(crate) fn wait_for(
    most: Duration,
    what: &str,
    enough: impl Fn(usize) -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let waiting = sandboxes()?.len();
        if enough(waiting) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < most,
            "waited {most:?} for {what}: there are {waiting} sandboxes"
        );
        sleep(POLL);
    }
}
