//! Whether limits are in force, as the kernel sees it: read from a container's process and cgroups.
//!
//! What podman says it was asked for is no answer. An ordinary user's podman drops limits with a
//! warning on cgroup v1, and without one on v2 where crun is to make the cgroups itself (manager
//! `cgroupfs`; podman's issues 13891 and 21575). runc makes them there.

use std::path::{Path, PathBuf};

use super::host::Host;
use super::limits::Limits;

/// Most depth of cgroups that is looked at.
const MAX_DEPTH: usize = 64;
/// Systemd rounds a share of processor time up to 10 ms of a second.
const CPU_TOLERANCE: f64 = 0.011;

/// What limits a process, each the least of its cgroup and those above it that are not ours too.
/// `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of swap beside memory.
    pub swap: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Cores.
    pub cpu: Option<f64>,
    /// Open files of a process.
    pub files: Option<u64>,
}

/// Reads what limits a process of a container.
///
/// # Errors
/// In words, if it is gone or its cgroups cannot be found.
pub fn effect(host: &Host, pid: u32) -> Result<Effect, String> {
    let of_process = |file: &str| {
        let path = format!("proc/{pid}/{file}");
        host.read(&path).ok_or(format!("/{path} cannot be read"))
    };
    let cgroups = of_process("cgroup")?;
    let own = host.read("proc/self/cgroup").unwrap_or_default();
    let mounts = host.read("proc/self/mountinfo").unwrap_or_default();
    let mounts = Mounts::of(&mounts);
    let mut effect = Effect {
        files: open_files(&of_process("limits")?),
        ..Effect::default()
    };
    for membership in memberships(&cgroups) {
        let Some(mount) = mounts.of_membership(&membership) else {
            continue;
        };
        // What limits us too is no limit of the container's own.
        let ours: Vec<&str> = memberships(&own)
            .filter(|other| other.controllers == membership.controllers)
            .flat_map(|other| ancestors(other.path))
            .collect();
        for cgroup in ancestors(membership.path).filter(|path| !ours.contains(path)) {
            let directory = mount.directory(cgroup);
            match membership.controllers {
                "" => effect.narrow_v2(host, &directory),
                _ => effect.narrow_v1(host, &directory),
            }
        }
    }
    if !swaps(host) {
        effect.swap = Some(0);
    }
    Ok(effect)
}

impl Effect {
    /// What of these limits is not in force; empty if all are.
    #[must_use]
    pub fn lacks(&self, limits: &Limits) -> Vec<String> {
        let mut lacking = Vec::new();
        let mut check = |name: &str, most: u64, found: Option<u64>| match found {
            Some(found) if found <= most => {}
            Some(found) => lacking.push(format!("{name} {found} instead of {most}")),
            None => lacking.push(format!("{name} without limit instead of {most}")),
        };
        check("memory", limits.memory.bytes(), self.memory);
        check("swap", 0, self.swap);
        check("processes", limits.pids.into(), self.pids);
        check("open files", limits.files.into(), self.files);
        let cores = limits.cpu.cores();
        match self.cpu {
            Some(found) if found <= cores + CPU_TOLERANCE => {}
            Some(found) => lacking.push(format!("processor {found} instead of {cores}")),
            None => lacking.push(format!("processor without limit instead of {cores}")),
        }
        lacking
    }

    fn narrow_v2(&mut self, host: &Host, directory: &Path) {
        narrow(&mut self.memory, number(host, directory, "memory.max"));
        narrow(&mut self.swap, number(host, directory, "memory.swap.max"));
        narrow(&mut self.pids, number(host, directory, "pids.max"));
        let cpu = host.read(directory.join("cpu.max"));
        narrow(&mut self.cpu, cpu.as_deref().and_then(share));
    }

    fn narrow_v1(&mut self, host: &Host, directory: &Path) {
        /// What v1 says where there is no limit: as many bytes as there can be pages.
        const UNLIMITED: u64 = 1 << 62;
        let bytes = |file| number(host, directory, file).filter(|bytes| *bytes < UNLIMITED);
        let memory = bytes("memory.limit_in_bytes");
        narrow(&mut self.memory, memory);
        if let (Some(memory), Some(both)) = (memory, bytes("memory.memsw.limit_in_bytes")) {
            narrow(&mut self.swap, Some(both.saturating_sub(memory)));
        }
        narrow(&mut self.pids, number(host, directory, "pids.max"));
        let quota = host.read(directory.join("cpu.cfs_quota_us"));
        let period = host.read(directory.join("cpu.cfs_period_us"));
        if let (Some(quota), Some(period)) = (quota, period) {
            narrow(
                &mut self.cpu,
                share(&format!("{} {}", quota.trim(), period.trim())),
            );
        }
    }
}

fn narrow<T: PartialOrd + Copy>(limit: &mut Option<T>, other: Option<T>) {
    *limit = match (*limit, other) {
        (Some(one), Some(two)) => Some(if two < one { two } else { one }),
        (one, two) => one.or(two),
    };
}

/// A setting that is one number; nothing where it is `max` or not there.
fn number(host: &Host, directory: &Path, file: &str) -> Option<u64> {
    host.read(directory.join(file))?.trim().parse().ok()
}

/// `50000 100000`, a quota and its period in microseconds, in cores. `max` and -1 are without limit.
fn share(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: u32 = words.next()?.parse().ok()?;
    let period: u32 = words.next()?.parse().ok()?;
    (period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// The hard limit on open files, of a line `Max open files  1024  4096  files`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether this host swaps at all: where it does not, kernels may have no accounts of it.
fn swaps(host: &Host) -> bool {
    let swaps = host.read("proc/swaps").unwrap_or_default();
    swaps.lines().nth(1).is_some()
}

/// A line of `/proc/PID/cgroup`: in which cgroup of a hierarchy a process is.
#[derive(Clone, Copy, Debug)]
struct Membership<'a> {
    /// Of v1, separated by commas; empty for v2.
    controllers: &'a str,
    path: &'a str,
}

fn memberships(text: &str) -> impl Iterator<Item = Membership<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some(Membership {
            controllers: fields.next()?,
            path: fields.next()?,
        })
    })
}

/// `/a/b`, `/a`, and `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let path = Path::new(path);
    path.ancestors().take(MAX_DEPTH).filter_map(Path::to_str)
}

/// Where hierarchies of cgroups are mounted, by `/proc/self/mountinfo`.
struct Mounts(Vec<Mount>);

struct Mount {
    /// Which part of the hierarchy is seen there.
    root: String,
    place: PathBuf,
    /// The controllers of v1; nothing for v2.
    controllers: Option<Vec<String>>,
}

impl Mounts {
    fn of(mountinfo: &str) -> Self {
        let mounts = mountinfo.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(3);
            let (root, place) = (before.next()?, before.next()?);
            let mut after = after.split(' ');
            let controllers = match (after.next()?, after.nth(1)?) {
                ("cgroup2", _) => None,
                ("cgroup", options) => Some(options.split(',').map(String::from).collect()),
                _ => return None,
            };
            Some(Mount {
                root: root.to_owned(),
                place: place.into(),
                controllers,
            })
        });
        Self(mounts.collect())
    }

    fn of_membership(&self, membership: &Membership<'_>) -> Option<&Mount> {
        let wanted: Vec<&str> = membership.controllers.split(',').collect();
        self.0.iter().find(|mount| match &mount.controllers {
            None => membership.controllers.is_empty(),
            Some(has) => {
                !membership.controllers.is_empty()
                    && wanted.iter().all(|c| has.iter().any(|other| other == c))
            }
        })
    }
}

impl Mount {
    /// Where a cgroup of the hierarchy is, without the first slash.
    fn directory(&self, cgroup: &str) -> PathBuf {
        let beneath = Path::new(cgroup).strip_prefix(&self.root);
        let beneath = beneath.unwrap_or(Path::new(cgroup));
        let place = self.place.strip_prefix("/").unwrap_or(&self.place);
        place.join(beneath.strip_prefix("/").unwrap_or(beneath))
    }
}

#[cfg(test)]
mod tests {
    use axo_core::{CpuShare, Size};

    use super::*;

    /// A host whose files are these.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let host = Host::of_process().with_root(root.path());
        (root, host)
    }

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
                          Max open files            256                  256                  files\n";

    fn limits() -> Limits {
        Limits {
            cpu: CpuShare::from_cores(0.5).unwrap(),
            memory: Size::from_mib(64),
            pids: 64,
            files: 256,
        }
    }

    const V2: &str = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn v2_counts_the_scope_above_the_process() {
        let scope = "sys/fs/cgroup/user.slice/libpod-1.scope";
        let at = |file: &str| format!("{scope}/{file}");
        let (_root, host) = host(&[
            ("proc/7/cgroup", "0::/user.slice/libpod-1.scope/container\n"),
            ("proc/7/limits", LIMITS),
            ("proc/self/cgroup", "0::/user.slice/session.scope\n"),
            ("proc/self/mountinfo", V2),
            (
                "proc/swaps",
                "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
            ),
            (&at("memory.max"), "67108864\n"),
            (&at("memory.swap.max"), "0\n"),
            (&at("pids.max"), "64\n"),
            (&at("cpu.max"), "50000 100000\n"),
            (&at("container/memory.max"), "max\n"),
            (&at("container/pids.max"), "max\n"),
        ]);
        let effect = effect(&host, 7).unwrap();
        assert_eq!(effect.lacks(&limits()), Vec::<String>::new());
        let stricter = Limits {
            pids: 63,
            ..limits()
        };
        assert_eq!(effect.lacks(&stricter), ["processes 64 instead of 63"]);
    }

    #[test]
    fn a_container_in_our_own_cgroup_has_no_limits_of_its_own() {
        let (_root, host) = host(&[
            ("proc/7/cgroup", "0::/user.slice/session.scope\n"),
            ("proc/7/limits", LIMITS),
            ("proc/self/cgroup", "0::/user.slice/session.scope\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/user.slice/session.scope/pids.max", "10\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "1000\n"),
        ]);
        let lacking = effect(&host, 7).unwrap().lacks(&limits());
        assert_eq!(lacking.len(), 3, "{lacking:?}");
        assert!(
            lacking[0].starts_with("memory without limit"),
            "{lacking:?}"
        );
    }

    #[test]
    fn v1_is_read_hierarchy_by_hierarchy() {
        let (_root, host) = host(&[
            (
                "proc/7/cgroup",
                "4:memory:/p/c\n3:cpu,cpuacct:/p/c\n2:pids:/p/c\n1:name=systemd:/p\n0::/\n",
            ),
            ("proc/7/limits", LIMITS),
            (
                "proc/self/cgroup",
                "4:memory:/us\n3:cpu,cpuacct:/\n2:pids:/\n0::/\n",
            ),
            (
                "proc/self/mountinfo",
                "31 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 32 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 33 24 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
            ),
            (
                "sys/fs/cgroup/memory/p/c/memory.limit_in_bytes",
                "67108864\n",
            ),
            (
                "sys/fs/cgroup/memory/p/c/memory.memsw.limit_in_bytes",
                "67108864\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/p/c/cpu.cfs_quota_us", "50000\n"),
            (
                "sys/fs/cgroup/cpu,cpuacct/p/c/cpu.cfs_period_us",
                "100000\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/pids/p/c/pids.max", "max\n"),
        ]);
        let effect = effect(&host, 7).unwrap();
        assert_eq!(
            effect.lacks(&limits()),
            ["processes without limit instead of 64"]
        );
        assert_eq!(effect.swap, Some(0));
    }

    #[test]
    fn a_hierarchy_that_is_seen_in_part_is_found() {
        let mounts = Mounts::of("30 24 0:27 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let membership = memberships("0::/docker/x/libpod/c\n").next().unwrap();
        let mount = mounts.of_membership(&membership).unwrap();
        assert_eq!(
            mount.directory(membership.path),
            Path::new("sys/fs/cgroup/libpod/c")
        );
    }

    #[test]
    fn a_process_that_is_gone_is_told() {
        let (_root, host) = host(&[]);
        assert_eq!(
            effect(&host, 7).unwrap_err(),
            "/proc/7/cgroup cannot be read"
        );
    }
}
