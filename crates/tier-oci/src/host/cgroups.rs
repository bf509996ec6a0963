//! Where sandboxes are accounted and limited: cgroup v1 (alone or hybrid), v2, or systemd's scopes.

use std::io;
use std::path::{Path, PathBuf};

use axo_core::EffectiveLimits;
use axo_runner::{Cgroup, CgroupDirectory};
use rustix::fs::{Access, access};
use serde_json::{Value, json};

use super::Unavailable;
use super::devices::{container_devices, machine_devices};
use super::limits::{CPU_PERIOD, cpu_quota, has, v1_settings, v2_limits, v2_settings};

/// What the name of every sandbox begins with.
pub const PREFIX: &str = "axocoatl-";
/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const ROOT: &str = "/sys/fs/cgroup";
/// What helps where no cgroup is ours.
const DELEGATE: &str = "start it in a delegated cgroup: systemd-run --user --scope -p Delegate=yes axocoatl …; or run axocoatl as root";
/// Most depth of cgroups that is looked at.
const MAX_DEPTH: usize = 32;

/// Who makes the cgroups of sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// Systemd where it runs, as is its due; else we do.
    #[default]
    Auto,
    /// We do, whatever else runs.
    Direct,
    /// Systemd; the tier is not available without it.
    Systemd,
}

/// How this host accounts sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupHost {
    /// Cgroup v1, by the mount points of its hierarchies.
    V1 {
        /// One a controller, or several controllers together.
        hierarchies: Vec<PathBuf>,
    },
    /// Cgroup v2.
    V2 {
        /// The directory whose children sandboxes are.
        parent: PathBuf,
    },
    /// Systemd makes scopes.
    Systemd {
        /// Asked over this D-Bus; none is the system's.
        bus: Option<String>,
    },
}

impl CgroupHost {
    /// Looks at the host, and changes nothing.
    ///
    /// # Errors
    /// If no limit can be enforced.
    pub fn examine(driver: CgroupDriver) -> Result<Self, Unavailable> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| {
            Unavailable::new(
                format!("/proc/self/mountinfo cannot be read: {e}"),
                "mount proc on /proc",
            )
        })?;
        let hierarchies = Hierarchies::of(&mounts);
        if hierarchies == Hierarchies::V2
            && driver != CgroupDriver::Direct
            && let Some(systemd) = systemd()
        {
            return systemd;
        }
        match (hierarchies, driver) {
            (_, CgroupDriver::Systemd) => Err(Unavailable::new(
                "systemd makes no cgroups here: it does not run, its D-Bus cannot be reached, or the host has cgroup v1",
                "boot the host with systemd and cgroup v2, or let cgroups be made directly",
            )),
            (Hierarchies::V1(hierarchies), _) => v1(hierarchies),
            (Hierarchies::V2, _) => v2(),
            (Hierarchies::None, _) => Err(Unavailable::new(
                "no cgroup file system is mounted on /sys/fs/cgroup",
                "as root: mount -t cgroup2 none /sys/fs/cgroup",
            )),
        }
    }

    /// The cgroup of a container with its limits.
    pub(crate) fn of_sandbox(&self, id: &str, limits: &EffectiveLimits) -> Cgroup {
        self.of(id, limits, &container_devices())
    }

    /// The cgroup of a microVM, with its limits on memory, processor time and processes: those of
    /// Firecracker, the guest's memory included. Runners make it themselves, so that a host is to be
    /// examined with [`CgroupDriver::Direct`].
    #[must_use]
    pub fn of_machine(&self, id: &str, limits: &EffectiveLimits) -> Cgroup {
        self.of(id, limits, &machine_devices())
    }

    fn of(&self, id: &str, limits: &EffectiveLimits, devices: &[String]) -> Cgroup {
        match self {
            Self::V1 { hierarchies } => Cgroup::Directories(
                hierarchies
                    .iter()
                    .filter_map(|hierarchy| {
                        let settings = v1_settings(hierarchy, limits, devices)?;
                        let path = hierarchy.join(id);
                        Some(CgroupDirectory { path, settings })
                    })
                    .collect(),
            ),
            Self::V2 { parent } => Cgroup::Directories(vec![CgroupDirectory {
                path: parent.join(id),
                settings: v2_settings(limits),
            }]),
            Self::Systemd { bus } => Cgroup::Systemd {
                bus: bus.clone(),
                limits: v2_limits(limits),
            },
        }
    }

    /// What `config.json` says about a sandbox's cgroup, where libcontainer has systemd make it.
    pub(crate) fn of_config(&self, id: &str, limits: &EffectiveLimits) -> Option<(String, Value)> {
        let Self::Systemd { bus } = self else {
            return None;
        };
        let slice = if bus.is_some() { "user" } else { "system" };
        let memory = limits.memory.bytes();
        let resources = json!({
            // Memory and swap together: none of it is swap.
            "memory": {"limit": memory, "swap": memory},
            "cpu": {"quota": cpu_quota(limits), "period": CPU_PERIOD},
            "pids": {"limit": limits.pids},
        });
        // Systemd's own form: slice, prefix, and name, of which it makes `axocoatl-….scope`.
        let name = id.strip_prefix(PREFIX).unwrap_or(id);
        Some((format!("{slice}.slice:axocoatl:{name}"), resources))
    }

    /// Lets the children of our directory on v2 have the controllers that limits need. Done when the
    /// first sandbox is made: examining the host changes nothing.
    ///
    /// # Errors
    /// If the kernel does not let us.
    pub fn enable(&self) -> Result<(), Unavailable> {
        let Self::V2 { parent } = self else {
            return Ok(());
        };
        if are_enabled(parent) {
            return Ok(());
        }
        let wanted = CONTROLLERS.map(|controller| format!("+{controller}"));
        let enabled = std::fs::write(parent.join("cgroup.subtree_control"), wanted.join(" "));
        match enabled {
            Ok(()) if are_enabled(parent) => Ok(()),
            // Refused where a process has come into the directory itself.
            result => {
                let why = result.map_or_else(|e| e.to_string(), |()| "it had no effect".to_owned());
                Err(Unavailable::new(
                    format!(
                        "the controllers {} cannot be enabled in the cgroup {}: {why}",
                        CONTROLLERS.join(", "),
                        parent.display()
                    ),
                    DELEGATE,
                ))
            }
        }
    }

    /// In which directories sandboxes of ours may lie.
    pub(super) fn parents(&self) -> Vec<PathBuf> {
        match self {
            Self::V1 { hierarchies } => hierarchies.clone(),
            Self::V2 { parent } => vec![parent.clone()],
            // A scope goes with its last process.
            Self::Systemd { .. } => Vec::new(),
        }
    }

    /// In which directories sandboxes may lie that anybody's engine on this host has made, whoever
    /// makes its cgroups: where systemd runs, a program may have chosen [`CgroupDriver::Direct`].
    pub(super) fn all_parents() -> io::Result<Vec<PathBuf>> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        Ok(match Hierarchies::of(&mounts) {
            Hierarchies::V1(hierarchies) => hierarchies,
            // Which cgroup an engine was in when it made them nobody knows any more.
            Hierarchies::V2 => super::reap::holders(Path::new(ROOT)),
            Hierarchies::None => Vec::new(),
        })
    }
}

/// What `/proc/self/mountinfo` says about cgroups.
#[derive(Debug, PartialEq, Eq)]
enum Hierarchies {
    V1(Vec<PathBuf>),
    V2,
    None,
}

impl Hierarchies {
    fn of(mountinfo: &str) -> Self {
        let mut v1 = Vec::new();
        let mut v2 = false;
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let place = before.split(' ').nth(4).unwrap_or_default();
            let mut after = after.split(' ');
            match after.next() {
                Some("cgroup2") => v2 |= place == ROOT,
                // A named hierarchy has no controller.
                Some("cgroup")
                    if place.starts_with(ROOT) && !after.any(|word| word.contains("name=")) =>
                {
                    v1.push(PathBuf::from(place));
                }
                _ => {}
            }
        }
        match (v1.is_empty(), v2) {
            (false, _) => Self::V1(v1),
            (true, true) => Self::V2,
            (true, false) => Self::None,
        }
    }
}

fn v1(hierarchies: Vec<PathBuf>) -> Result<CgroupHost, Unavailable> {
    for controller in CONTROLLERS {
        let found = hierarchies.iter().find(|path| has(path, controller));
        let Some(hierarchy) = found else {
            return Err(Unavailable::new(
                format!("cgroup v1 has no {controller} controller, so a limit cannot be enforced"),
                format!(
                    "as root: mkdir {ROOT}/{controller} && mount -t cgroup -o {controller} none {ROOT}/{controller}"
                ),
            ));
        };
        if access(hierarchy, Access::WRITE_OK).is_err() {
            return Err(Unavailable::new(
                format!(
                    "cgroup v1 belongs to root ({} cannot be written), so no limit can be enforced",
                    hierarchy.display()
                ),
                "run axocoatl as root, or boot the host with cgroup v2 (systemd.unified_cgroup_hierarchy=1)",
            ));
        }
    }
    Ok(CgroupHost::V1 { hierarchies })
}

/// Systemd, if it runs and can be asked: root asks the system's, others their own. It sets a limit
/// only by a controller that it has, and says nothing where it has not.
fn systemd() -> Option<Result<CgroupHost, Unavailable>> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let bus = if rustix::process::geteuid().is_root() {
        if !Path::new("/run/dbus/system_bus_socket").exists() {
            return None;
        }
        None
    } else {
        Some(user_bus()?)
    };
    let missing = match bus {
        Some(_) => missing_controllers(&user_manager(rustix::process::geteuid().as_raw())),
        None => missing_controllers(Path::new(ROOT)),
    };
    Some(match missing.as_slice() {
        [] => Ok(CgroupHost::Systemd { bus }),
        missing => Err(not_delegated(missing, bus.is_some())),
    })
}

/// The cgroup of a user's own systemd.
fn user_manager(user: u32) -> PathBuf {
    Path::new(ROOT).join(format!("user.slice/user-{user}.slice/user@{user}.service"))
}

/// The controllers that a limit needs and that this cgroup cannot give to its children. Where that
/// cannot be read nothing is missing yet: the runner looks at what systemd has set.
fn missing_controllers(directory: &Path) -> Vec<&'static str> {
    let Ok(available) = std::fs::read_to_string(directory.join("cgroup.controllers")) else {
        return Vec::new();
    };
    CONTROLLERS
        .into_iter()
        .filter(|controller| !has_word(&available, controller))
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|found| found == word)
}

fn not_delegated(missing: &[&str], to_user: bool) -> Unavailable {
    let missing = missing.join(", ");
    if !to_user {
        return Unavailable::new(
            format!(
                "the kernel's cgroup v2 has no controller {missing}, so a limit cannot be enforced"
            ),
            "boot without cgroup_disable= and without cgroup v1 hierarchies that hold it",
        );
    }
    Unavailable::new(
        format!(
            "systemd delegates no controller {missing} to this user, so a limit cannot be enforced"
        ),
        "as root: mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu memory \
         pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log \
         in anew",
    )
}

fn v2() -> Result<CgroupHost, Unavailable> {
    let own = own_cgroup().unwrap_or_default();
    let own = Path::new(ROOT).join(own.trim_start_matches('/'));
    own.ancestors()
        .take(MAX_DEPTH)
        .take_while(|path| path.starts_with(ROOT))
        .find(|path| can_hold_sandboxes(path))
        .map(|parent| CgroupHost::V2 {
            parent: parent.to_owned(),
        })
        .ok_or_else(|| {
            Unavailable::new(
                "no cgroup is delegated to this user, so no limit on memory, processes or processor \
                 time can be enforced",
                DELEGATE,
            )
        })
}

/// Whether we may make children of this cgroup that have the controllers that limits need. Only
/// looks: what is to be enabled is, by [`CgroupHost::enable`], when a sandbox is made.
fn can_hold_sandboxes(directory: &Path) -> bool {
    let writable = |file: &str| access(directory.join(file), Access::WRITE_OK).is_ok();
    if access(directory, Access::WRITE_OK).is_err() || !writable("cgroup.procs") {
        return false;
    }
    if are_enabled(directory) {
        return true;
    }
    // Enabling is refused where processes are in the cgroup itself, unless it is the root, which alone
    // has no type. That of a cgroup namespace is another's child.
    let is_free = || {
        let members = std::fs::read_to_string(directory.join("cgroup.procs"));
        !directory.join("cgroup.type").exists()
            || members.is_ok_and(|members| members.trim().is_empty())
    };
    let has_controllers = || {
        let file = std::fs::read_to_string(directory.join("cgroup.controllers"));
        file.is_ok_and(|text| CONTROLLERS.iter().all(|wanted| has_word(&text, wanted)))
    };
    writable("cgroup.subtree_control") && has_controllers() && is_free()
}

/// Whether the children of a cgroup have the controllers that limits need.
fn are_enabled(directory: &Path) -> bool {
    let text = std::fs::read_to_string(directory.join("cgroup.subtree_control"));
    text.is_ok_and(|text| CONTROLLERS.iter().all(|wanted| has_word(&text, wanted)))
}

/// The cgroup of this process on cgroup v2.
fn own_cgroup() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(line.to_owned())
}

/// Where the user's own systemd listens.
fn user_bus() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let by_runtime = || {
        let path = format!("{}/bus", variable("XDG_RUNTIME_DIR")?);
        Path::new(&path)
            .exists()
            .then(|| format!("unix:path={path}"))
    };
    variable("DBUS_SESSION_BUS_ADDRESS").or_else(by_runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_of_cgroups_is_told_from_the_others() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            Hierarchies::of(hybrid),
            Hierarchies::V1(vec!["/sys/fs/cgroup/cpu".into()])
        );
        let unified = "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchies::of(unified), Hierarchies::V2);
        assert_eq!(Hierarchies::of("garbage\n"), Hierarchies::None);
    }

    /// Older systemd delegates memory and pids to users, and no cpu.
    #[test]
    fn a_controller_that_systemd_was_not_given_is_named_with_what_helps() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(missing_controllers(home.path()), Vec::<&str>::new());
        let file = home.path().join("cgroup.controllers");
        std::fs::write(&file, "cpuset memory pids\n").unwrap();
        let missing = missing_controllers(home.path());
        assert_eq!(missing, ["cpu"]);
        assert!(
            not_delegated(&missing, true)
                .fix
                .contains("Delegate=cpu memory pids")
        );
        std::fs::write(&file, "cpu io memory pids\n").unwrap();
        assert_eq!(missing_controllers(home.path()), Vec::<&str>::new());
    }

    /// A look must not enable anything: it is made by every engine, and by `gc --dry-run`.
    #[test]
    fn a_cgroup_is_looked_at_without_writing_and_enabled_when_it_is_used() {
        let home = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| std::fs::write(home.path().join(file), text).unwrap();
        for file in ["procs", "subtree_control", "controllers", "type"] {
            put(&format!("cgroup.{file}"), "");
        }
        assert!(!can_hold_sandboxes(home.path()), "it has no controllers");
        put("cgroup.controllers", "cpu io memory pids\n");
        assert!(can_hold_sandboxes(home.path()));
        let control = home.path().join("cgroup.subtree_control");
        assert_eq!(std::fs::read_to_string(&control).unwrap(), "", "written");
        put("cgroup.procs", "1\n");
        assert!(!can_hold_sandboxes(home.path()), "a process is in it");
        put("cgroup.subtree_control", "cpu memory pids\n");
        assert!(can_hold_sandboxes(home.path()));
        let host = CgroupHost::V2 {
            parent: home.path().to_owned(),
        };
        host.enable().unwrap();
        // No kernel reads this file: what is written has no effect, and that is told.
        put("cgroup.subtree_control", "");
        assert!(host.enable().unwrap_err().reason.contains("no effect"));
        assert_eq!(
            std::fs::read_to_string(&control).unwrap(),
            "+cpu +memory +pids"
        );
    }

    #[test]
    fn what_systemd_must_have_set_is_every_limit() {
        let host = CgroupHost::Systemd { bus: None };
        let Cgroup::Systemd { limits, .. } = host.of_sandbox("x", &EffectiveLimits::DEFAULT) else {
            panic!("it is systemd's");
        };
        let required: Vec<_> = limits.iter().filter(|limit| limit.required).collect();
        for file in ["memory.max", "cpu.max", "pids.max"] {
            assert!(required.iter().any(|limit| limit.file == file), "{file}");
        }
    }
}
