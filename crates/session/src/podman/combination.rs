//! How podman is asked for containers here. What works differs from host to host, and a probe finds it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::PodmanError;
use super::limits::Limits;
use super::ulimits::HardLimits;

/// Which program makes containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// The one of podman's settings.
    #[default]
    Podmans,
    /// This one.
    At(PathBuf),
}

/// What a container gets of the limits of a process that a session does not set itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ulimits {
    /// What podman gives by itself.
    #[default]
    Podmans,
    /// As much as this process has: raising it is refused where `CAP_SYS_RESOURCE` is missing.
    Fitted,
}

/// Who makes the container's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CgroupManager {
    /// The one of podman's settings.
    #[default]
    Podmans,
    /// The OCI runtime, in the cgroup file system.
    Cgroupfs,
    /// Systemd, asked over D-Bus.
    Systemd,
}

/// How a directory becomes a container's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Root {
    /// Under an overlay of the container's own, so that many containers share the directory.
    #[default]
    Overlay,
    /// As it is: the container's mount points are made in it.
    Plain,
}

/// One way of asking podman for containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Combination {
    /// Which program makes containers.
    pub runtime: Runtime,
    /// Limits of processes.
    pub ulimits: Ulimits,
    /// Who makes cgroups.
    pub cgroups: CgroupManager,
    /// How a directory becomes a root.
    pub root: Root,
}

impl Combination {
    /// Podman's global options, before its verb.
    #[must_use]
    pub fn global_options(&self) -> Vec<OsString> {
        let mut options = Vec::new();
        if let Runtime::At(path) = &self.runtime {
            options.extend(["--runtime".into(), path.clone().into()]);
        }
        let manager = match self.cgroups {
            CgroupManager::Podmans => None,
            CgroupManager::Cgroupfs => Some("cgroupfs"),
            CgroupManager::Systemd => Some("systemd"),
        };
        if let Some(manager) = manager {
            options.extend(["--cgroup-manager".into(), manager.into()]);
        }
        options
    }

    /// The options of `podman run` and `podman create` that put these limits in force.
    #[must_use]
    pub fn limit_options(&self, limits: &Limits, hard: HardLimits) -> Vec<OsString> {
        let mut options = limits.options(hard);
        if let (Ulimits::Fitted, Some(most)) = (self.ulimits, hard.processes) {
            options.extend(["--ulimit".into(), format!("nproc={most}:{most}").into()]);
        }
        options
    }

    /// The options that make a directory the container's root; the command follows them.
    ///
    /// # Errors
    /// [`PodmanError::Directory`] if podman would take a part of the name for an option.
    pub fn root_options(&self, directory: &Path) -> Result<Vec<OsString>, PodmanError> {
        let name = directory.to_string_lossy();
        if !directory.is_absolute() || name.contains([':', ',']) {
            return Err(PodmanError::Directory {
                path: directory.to_owned(),
            });
        }
        let mut root = directory.as_os_str().to_owned();
        if self.root == Root::Overlay {
            root.push(":O");
        }
        Ok(vec!["--rootfs".into(), root])
    }
}

/// What a cause speaks against: combinations that share this part of one that failed fail as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Runtime,
    Ulimits,
    Cgroups,
    /// The runtime together with who makes cgroups: what one runtime leaves out, another does.
    RuntimeWithCgroups,
    Root,
}

/// What a host offers to choose from, each in the order in which it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choices {
    pub(super) runtimes: Vec<Runtime>,
    pub(super) ulimits: Vec<Ulimits>,
    pub(super) cgroups: Vec<CgroupManager>,
    pub(super) roots: Vec<Root>,
}

/// Combinations that are left to try, in a fixed order.
///
/// The runtime changes last: podman's own first, then each other that was found. For each, limits as
/// podman sets them, then fitted; for each of those, podman's cgroup manager, then another; and for
/// each of those, an overlay, then a plain root. So the first that works is the closest to podman's
/// own settings.
#[derive(Debug)]
pub(super) struct Candidates {
    left: std::collections::VecDeque<Combination>,
}

impl Candidates {
    pub(super) fn of(choices: &Choices) -> Self {
        let mut left = std::collections::VecDeque::new();
        for runtime in &choices.runtimes {
            for &ulimits in &choices.ulimits {
                for &cgroups in &choices.cgroups {
                    for &root in &choices.roots {
                        left.push_back(Combination {
                            runtime: runtime.clone(),
                            ulimits,
                            cgroups,
                            root,
                        });
                    }
                }
            }
        }
        Self { left }
    }

    pub(super) fn next(&mut self) -> Option<Combination> {
        self.left.pop_front()
    }

    /// Leaves out what shares a part with a combination that failed because of it.
    pub(super) fn exclude(&mut self, part: Part, failed: &Combination) {
        self.left.retain(|candidate| match part {
            Part::Runtime => candidate.runtime != failed.runtime,
            Part::Ulimits => candidate.ulimits != failed.ulimits,
            Part::Cgroups => candidate.cgroups != failed.cgroups,
            Part::RuntimeWithCgroups => {
                candidate.runtime != failed.runtime || candidate.cgroups != failed.cgroups
            }
            Part::Root => candidate.root != failed.root,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        Choices {
            runtimes: vec![Runtime::Podmans, Runtime::At("/usr/sbin/runc".into())],
            ulimits: vec![Ulimits::Podmans, Ulimits::Fitted],
            cgroups: vec![CgroupManager::Podmans, CgroupManager::Cgroupfs],
            roots: vec![Root::Overlay, Root::Plain],
        }
    }

    #[test]
    fn podmans_own_settings_come_first_and_the_runtime_changes_last() {
        let mut candidates = Candidates::of(&choices());
        let mut all = std::iter::from_fn(|| candidates.next()).collect::<Vec<_>>();
        assert_eq!(all.len(), 16);
        assert_eq!(all[0], Combination::default());
        assert_eq!(all[1].root, Root::Plain);
        assert_eq!(all[2].cgroups, CgroupManager::Cgroupfs);
        assert_eq!(all[4].ulimits, Ulimits::Fitted);
        assert!(all[..8].iter().all(|c| c.runtime == Runtime::Podmans));
        all.dedup();
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn what_failed_is_not_tried_again() {
        let mut candidates = Candidates::of(&choices());
        let first = candidates.next().unwrap();
        candidates.exclude(Part::Ulimits, &first);
        let second = candidates.next().unwrap();
        assert_eq!(second.ulimits, Ulimits::Fitted);
        candidates.exclude(Part::Runtime, &second);
        let third = candidates.next().unwrap();
        assert_eq!(third.runtime, Runtime::At("/usr/sbin/runc".into()));
        assert_eq!(third.ulimits, Ulimits::Fitted);
        candidates.exclude(Part::Root, &third);
        candidates.exclude(Part::Cgroups, &third);
        assert_eq!(candidates.next().map(|c| c.root), Some(Root::Plain));
        assert_eq!(candidates.next(), None);
    }

    #[test]
    fn what_one_runtime_leaves_out_another_may_do() {
        let mut candidates = Candidates::of(&choices());
        let first = candidates.next().unwrap();
        candidates.exclude(Part::RuntimeWithCgroups, &first);
        let second = candidates.next().unwrap();
        assert_eq!(second.runtime, first.runtime);
        assert_eq!(second.cgroups, CgroupManager::Cgroupfs);
        candidates.exclude(Part::RuntimeWithCgroups, &second);
        let third = candidates.next().unwrap();
        assert_ne!(third.runtime, first.runtime);
        assert_eq!(third.cgroups, first.cgroups);
    }

    #[test]
    fn only_what_differs_from_podmans_settings_is_said() {
        let plain = Combination::default();
        assert!(plain.global_options().is_empty());
        let other = Combination {
            runtime: Runtime::At("/usr/sbin/runc".into()),
            ulimits: Ulimits::Fitted,
            cgroups: CgroupManager::Cgroupfs,
            root: Root::Plain,
        };
        assert_eq!(
            other.global_options(),
            [
                "--runtime",
                "/usr/sbin/runc",
                "--cgroup-manager",
                "cgroupfs"
            ]
        );
        let hard = HardLimits {
            files: Some(100),
            processes: Some(200),
        };
        let limits = other.limit_options(&Limits::of_probe(), hard);
        assert!(limits.contains(&"nproc=200:200".into()), "{limits:?}");
        let limits = plain.limit_options(&Limits::of_probe(), hard);
        assert!(
            !limits
                .iter()
                .any(|o| o.to_string_lossy().starts_with("nproc"))
        );
    }

    #[test]
    fn a_directory_that_podman_would_misread_is_refused() {
        let root = |path: &str| Combination::default().root_options(Path::new(path));
        assert_eq!(root("/a b/c").unwrap(), ["--rootfs", "/a b/c:O"]);
        for bad in ["/a:b", "/a,b", "relative"] {
            assert!(
                matches!(root(bad), Err(PodmanError::Directory { .. })),
                "{bad}"
            );
        }
    }
}
