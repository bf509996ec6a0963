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

    /// What of a process's memory is a file of this name, and how much of the file it maps, in MiB.
    pub(crate) fn of_file(pid: u32, name: &str) -> anyhow::Result<(Self, f64)> {
        let path = format!("/proc/{pid}/smaps");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let (mut sum, mut mapped, mut ours) = (Self::default(), 0.0, false);
        for line in text.lines() {
            let Some((field, rest)) = line.split_once(':').filter(|(f, _)| !f.contains(' ')) else {
                // ADDRESSES RIGHTS OFFSET DEVICE INODE PATH
                let path = line.split_ascii_whitespace().nth(5).unwrap_or_default();
                ours = path.rsplit('/').next() == Some(name);
                continue;
            };
            let kib = rest.trim().trim_end_matches("kB").trim().parse();
            let mib: f64 = kib.unwrap_or(0.0) / 1024.0;
            match field {
                _ if !ours => {}
                "Size" => mapped += mib,
                "Pss" => sum.pss += mib,
                "Private_Clean" | "Private_Dirty" => sum.uss += mib,
                _ => {}
            }
        }
        Ok((sum, mapped))
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
