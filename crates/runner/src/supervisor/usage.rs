//! What a cgroup has used, from whichever files this kernel's version of cgroups has.

use std::path::PathBuf;

/// What a sandbox used.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) out_of_memory: bool,
    pub(crate) cpu_micros: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
}

impl Usage {
    pub(crate) fn read(directories: &[PathBuf]) -> Self {
        let text = |file: &str| {
            directories
                .iter()
                .find_map(|directory| std::fs::read_to_string(directory.join(file)).ok())
        };
        let number = |file: &str| text(file).and_then(|text| text.trim().parse::<u64>().ok());
        let field = |file: &str, key: &str| {
            let text = text(file)?;
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        let kills = field("memory.events", "oom_kill ")
            .or_else(|| field("memory.oom_control", "oom_kill "));
        Self {
            out_of_memory: kills.is_some_and(|kills| kills > 0),
            cpu_micros: field("cpu.stat", "usage_usec ")
                .or_else(|| number("cpuacct.usage").map(|nanos| nanos / 1000)),
            peak_memory: number("memory.peak").or_else(|| number("memory.max_usage_in_bytes")),
        }
    }
}
