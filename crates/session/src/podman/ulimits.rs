//! What a process may not raise: a container that is given more is refused by the kernel where its
//! maker lacks `CAP_SYS_RESOURCE`.

/// Hard limits of this process. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardLimits {
    /// Open files.
    pub files: Option<u64>,
    /// Processes of a user.
    pub processes: Option<u64>,
}

impl HardLimits {
    /// Those of this process.
    #[must_use]
    #[cfg(unix)]
    pub fn of_process() -> Self {
        use rustix::process::{Resource, getrlimit};
        Self {
            files: getrlimit(Resource::Nofile).maximum,
            processes: getrlimit(Resource::Nproc).maximum,
        }
    }

    /// There are none.
    #[must_use]
    #[cfg(not(unix))]
    pub fn of_process() -> Self {
        Self::default()
    }

    /// The same with at most so many processes. Podman lowers its own limit to `kernel.pid_max` as it
    /// starts (4.3.1 does), so that what it starts cannot have more.
    #[must_use]
    pub(crate) fn with_most_processes(self, most: Option<u64>) -> Self {
        let processes = match (self.processes, most) {
            (Some(hard), Some(most)) => Some(hard.min(most)),
            (hard, most) => hard.or(most),
        };
        Self { processes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_own_ceiling_counts() {
        let limits = |processes| HardLimits {
            files: Some(20_000),
            processes,
        };
        let most = |hard, most| limits(hard).with_most_processes(most).processes;
        assert_eq!(most(Some(96_365), Some(32_768)), Some(32_768));
        assert_eq!(most(Some(100), Some(32_768)), Some(100));
        assert_eq!(most(None, Some(32_768)), Some(32_768));
        assert_eq!(most(Some(100), None), Some(100));
        assert_eq!(most(None, None), None);
    }
}
