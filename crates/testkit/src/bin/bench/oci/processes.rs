//! The processes of sandboxes, and what memory they have, as the kernel tells.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;

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

/// Memory of processes, in MiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Proportional set size: pages that are shared count by share.
    pub(crate) pss: f64,
    /// Unique set size: what would be free without them.
    pub(crate) uss: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let mib = |field: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|rest| rest.trim_end_matches("kB").trim().parse().ok());
            kib.unwrap_or(0.0) / 1024.0
        };
        Ok(Self {
            pss: mib("Pss:"),
            uss: mib("Private_Clean:") + mib("Private_Dirty:"),
        })
    }

    pub(crate) fn of_all(pids: &[u32]) -> anyhow::Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let one = Self::of(*pid)?;
            Ok(Self {
                pss: sum.pss + one.pss,
                uss: sum.uss + one.uss,
            })
        })
    }
}
