//! Ceilings on a container, as podman takes them.

use std::ffi::OsString;

use axo_core::{CpuShare, Size};

use super::ulimits::HardLimits;

/// Ceilings on a container. Each is in force, or the container is not used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Share of processor time, in cores.
    pub cpu: CpuShare,
    /// Memory, none of it swap.
    pub memory: Size,
    /// Processes and threads.
    pub pids: u32,
    /// Open descriptors of a process.
    pub files: u32,
}

impl Limits {
    /// Those of the probe: small, and different from what anything sets by itself.
    #[must_use]
    pub fn of_probe() -> Self {
        Self {
            // In range by definition; one core would do as well.
            cpu: CpuShare::from_cores(0.5).unwrap_or(CpuShare::ONE),
            memory: Size::from_mib(64),
            pids: 64,
            files: 256,
        }
    }

    /// The options of `podman run` and `podman create`.
    pub(crate) fn options(&self, hard: HardLimits) -> Vec<OsString> {
        let memory = format!("{}b", self.memory.bytes());
        let files = u64::from(self.files);
        // A container cannot have more than we have.
        let files = hard.files.map_or(files, |hard| files.min(hard));
        [
            "--cpus".to_owned(),
            self.cpu.to_string(),
            "--memory".to_owned(),
            memory.clone(),
            // Memory and swap together: none of it is swap.
            "--memory-swap".to_owned(),
            memory,
            "--pids-limit".to_owned(),
            self.pids.to_string(),
            "--ulimit".to_owned(),
            format!("nofile={files}:{files}"),
        ]
        .map(OsString::from)
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_container_is_given_more_files_than_we_have() {
        let hard = |files| HardLimits {
            files,
            processes: None,
        };
        let options = |files| Limits::of_probe().options(hard(files)).pop().unwrap();
        assert_eq!(options(None), "nofile=256:256");
        assert_eq!(options(Some(100)), "nofile=100:100");
        assert_eq!(options(Some(20_000)), "nofile=256:256");
    }
}
