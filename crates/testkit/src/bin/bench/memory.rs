//! What memory processes have, as the kernel tells.

use std::fs;

use anyhow::Context as _;

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
