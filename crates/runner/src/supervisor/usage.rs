//! What a cgroup has used, from whichever files this kernel's version of cgroups has.

/// What a sandbox used.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) out_of_memory: bool,
    pub(crate) cpu_micros: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
}

impl Usage {
    /// Processor time since `before`, in microseconds.
    pub(crate) fn cpu_since(&self, before: &Self) -> Option<u64> {
        Some(self.cpu_micros?.saturating_sub(before.cpu_micros?))
    }

    /// From the files that `text` gives.
    pub(crate) fn read(text: impl Fn(&str) -> Option<String>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_cgroups_is_understood() {
        let v1 = |file: &str| {
            Some(match file {
                "memory.oom_control" => "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n".to_owned(),
                "cpuacct.usage" => "5000000\n".to_owned(),
                "memory.max_usage_in_bytes" => "4096\n".to_owned(),
                _ => return None,
            })
        };
        let used = Usage::read(v1);
        assert!(used.out_of_memory);
        assert_eq!(
            (used.cpu_micros, used.peak_memory),
            (Some(5000), Some(4096))
        );
        let v2 = |file: &str| {
            Some(match file {
                "memory.events" => "oom 1\noom_kill 0\noom_group_kill 0\n".to_owned(),
                "cpu.stat" => "usage_usec 77\nuser_usec 1\n".to_owned(),
                _ => return None,
            })
        };
        let used = Usage::read(v2);
        assert!(!used.out_of_memory);
        assert_eq!((used.cpu_micros, used.peak_memory), (Some(77), None));
    }
}
