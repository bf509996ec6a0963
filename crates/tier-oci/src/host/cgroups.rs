//! Where sandboxes are accounted and limited: cgroup v1 (alone or hybrid), v2, or systemd's scopes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use axo_core::EffectiveLimits;
use axo_runner::{Cgroup, CgroupDirectory, CgroupSetting};
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::Lacking;

/// What the name of every sandbox begins with.
pub(crate) const PREFIX: &str = "axocoatl-";
/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const ROOT: &str = "/sys/fs/cgroup";
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
pub(crate) enum CgroupHost {
    /// The mount points of the hierarchies.
    V1 { hierarchies: Vec<PathBuf> },
    /// The directory whose children sandboxes are.
    V2 { parent: PathBuf },
    /// Systemd makes scopes, asked over this D-Bus; none is the system's.
    Systemd { bus: Option<String> },
}

impl CgroupHost {
    pub(super) fn examine(driver: CgroupDriver) -> Result<Self, Lacking> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| {
            Lacking::new(
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
            (_, CgroupDriver::Systemd) => Err(Lacking::new(
                "systemd makes no cgroups here: it does not run, its D-Bus cannot be reached, or the host has cgroup v1",
                "boot the host with systemd and cgroup v2, or let cgroups be made directly",
            )),
            (Hierarchies::V1(hierarchies), _) => v1(hierarchies),
            (Hierarchies::V2, _) => v2(),
            (Hierarchies::None, _) => Err(Lacking::new(
                "no cgroup file system is mounted on /sys/fs/cgroup",
                "as root: mount -t cgroup2 none /sys/fs/cgroup",
            )),
        }
    }

    /// The cgroup of a sandbox with its limits.
    pub(crate) fn of_sandbox(&self, id: &str, limits: &EffectiveLimits) -> Cgroup {
        match self {
            Self::V1 { hierarchies } => Cgroup::Directories(
                hierarchies
                    .iter()
                    .filter_map(|hierarchy| {
                        let settings = v1_settings(hierarchy, limits)?;
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

    /// In which directories sandboxes of ours may lie.
    fn parents(&self) -> Vec<PathBuf> {
        match self {
            Self::V1 { hierarchies } => hierarchies.clone(),
            Self::V2 { parent } => vec![parent.clone()],
            // A scope goes with its last process.
            Self::Systemd { .. } => Vec::new(),
        }
    }
}

/// Removes the cgroups whose runner is gone, and kills what is in them; with `dry_run`, only finds
/// them. Answers their paths.
///
/// # Errors
/// If a directory that may hold some cannot be listed.
pub(crate) fn reap(host: &CgroupHost, dry_run: bool) -> io::Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for parent in host.parents() {
        for entry in std::fs::read_dir(&parent)? {
            let entry = entry?;
            let path = entry.path();
            let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if ours && entry.file_type()?.is_dir() && reap_one(&path, dry_run) {
                dead.push(path);
            }
        }
    }
    Ok(dead)
}

/// How long a runner may take between making a directory and locking it.
const MAKING: std::time::Duration = std::time::Duration::from_millis(20);

/// Whether a directory had no runner, and is removed if it is to be. It stays locked meanwhile: a
/// runner that has just made it does not get the lock, and makes another.
fn reap_one(directory: &Path, dry_run: bool) -> bool {
    let lock = || {
        let file = File::open(directory).ok()?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        locked.then_some(file)
    };
    let Some(locked) = lock() else {
        return false;
    };
    if !dry_run {
        return remove(directory);
    }
    // One that was made this moment is not locked yet; only looking must not call it dead.
    drop(locked);
    std::thread::sleep(MAKING);
    lock().is_some()
}

fn remove(directory: &Path) -> bool {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match std::fs::remove_dir(directory) {
            Ok(()) => return true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return true,
            Err(_) => {}
        }
        // Cgroup v2 kills all at once, and nobody else.
        if std::fs::write(directory.join("cgroup.kill"), "1").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(5));
            continue;
        }
        let members = std::fs::read_to_string(directory.join("cgroup.procs"));
        for pid in members.unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

/// Whether a hierarchy of v1 has a controller: it is mounted under their names.
fn has(hierarchy: &Path, controller: &str) -> bool {
    let name = hierarchy.file_name().unwrap_or_default().to_string_lossy();
    name.split(',').any(|part| part == controller)
}

/// Period in which a share of processor time is counted, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// Processor time in a period, in microseconds.
fn cpu_quota(limits: &EffectiveLimits) -> u64 {
    /// The least that the kernel takes.
    const LEAST: f64 = 1_000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share is checked to be between 0.01 and 1024 cores"
    )]
    let quota = (limits.cpu.cores() * CPU_PERIOD as f64).max(LEAST) as u64;
    quota
}

fn setting(file: &str, value: impl ToString) -> CgroupSetting {
    CgroupSetting {
        file: file.to_owned(),
        value: value.to_string(),
        required: true,
    }
}

/// One that a host without swap accounting does not have.
fn swap_setting(file: &str, value: impl ToString) -> CgroupSetting {
    CgroupSetting {
        required: false,
        ..setting(file, value)
    }
}

fn v2_settings(limits: &EffectiveLimits) -> Vec<CgroupSetting> {
    let mut settings = v2_limits(limits);
    // What does not fit ends the whole tool, and not a part that it may not miss.
    settings.push(setting("memory.oom.group", 1));
    settings
}

/// The limits alone, which systemd sets as well.
fn v2_limits(limits: &EffectiveLimits) -> Vec<CgroupSetting> {
    vec![
        setting("memory.max", limits.memory.bytes()),
        swap_setting("memory.swap.max", 0),
        setting("cpu.max", format!("{} {CPU_PERIOD}", cpu_quota(limits))),
        setting("pids.max", limits.pids),
    ]
}

/// Devices that every container has: null, zero, full, random, urandom, and tty.
const DEVICES: [&str; 6] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
];

/// What is set in a hierarchy of v1; `None` for one that sandboxes need not be in.
fn v1_settings(hierarchy: &Path, limits: &EffectiveLimits) -> Option<Vec<CgroupSetting>> {
    let mut settings = Vec::new();
    let mut ours = false;
    let mut add = |controller: &str, more: Vec<CgroupSetting>| {
        if has(hierarchy, controller) {
            ours = true;
            settings.extend(more);
        }
    };
    let memory = limits.memory.bytes();
    add(
        "memory",
        vec![
            setting("memory.limit_in_bytes", memory),
            swap_setting("memory.memsw.limit_in_bytes", memory),
            swap_setting("memory.swappiness", 0),
        ],
    );
    add(
        "cpu",
        vec![
            setting("cpu.cfs_period_us", CPU_PERIOD),
            setting("cpu.cfs_quota_us", cpu_quota(limits)),
        ],
    );
    add("cpuacct", Vec::new());
    add("pids", vec![setting("pids.max", limits.pids)]);
    let allowed = DEVICES.map(|device| setting("devices.allow", device));
    let devices = [vec![setting("devices.deny", "a")], allowed.to_vec()].concat();
    add("devices", devices);
    ours.then_some(settings)
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

fn v1(hierarchies: Vec<PathBuf>) -> Result<CgroupHost, Lacking> {
    for controller in CONTROLLERS {
        let found = hierarchies.iter().find(|path| has(path, controller));
        let Some(hierarchy) = found else {
            return Err(Lacking::new(
                format!("cgroup v1 has no {controller} controller, so a limit cannot be enforced"),
                format!(
                    "as root: mkdir {ROOT}/{controller} && mount -t cgroup -o {controller} none {ROOT}/{controller}"
                ),
            ));
        };
        if access(hierarchy, Access::WRITE_OK).is_err() {
            return Err(Lacking::new(
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
fn systemd() -> Option<Result<CgroupHost, Lacking>> {
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

fn not_delegated(missing: &[&str], to_user: bool) -> Lacking {
    let missing = missing.join(", ");
    if !to_user {
        return Lacking::new(
            format!(
                "the kernel's cgroup v2 has no controller {missing}, so a limit cannot be enforced"
            ),
            "boot without cgroup_disable= and without cgroup v1 hierarchies that hold it",
        );
    }
    Lacking::new(
        format!(
            "systemd delegates no controller {missing} to this user, so a limit cannot be enforced"
        ),
        "as root: mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu memory \
         pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log \
         in anew",
    )
}

fn v2() -> Result<CgroupHost, Lacking> {
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
            Lacking::new(
                "no cgroup is delegated to this user, so no limit on memory, processes or processor \
                 time can be enforced",
                "start it in a delegated cgroup: systemd-run --user --scope -p Delegate=yes axocoatl …; \
                 or run axocoatl as root",
            )
        })
}

/// Whether children of this cgroup have the controllers that limits need, and we may make some.
fn can_hold_sandboxes(directory: &Path) -> bool {
    let writable = |file: &str| access(directory.join(file), Access::WRITE_OK).is_ok();
    if access(directory, Access::WRITE_OK).is_err() || !writable("cgroup.procs") {
        return false;
    }
    let enabled = || {
        let text = std::fs::read_to_string(directory.join("cgroup.subtree_control"));
        let text = text.unwrap_or_default();
        CONTROLLERS
            .iter()
            .all(|controller| text.split_whitespace().any(|word| word == *controller))
    };
    if enabled() {
        return true;
    }
    // Enabling is refused where processes are in the cgroup itself, unless it is the root.
    let wanted = CONTROLLERS.map(|controller| format!("+{controller}"));
    let _ = std::fs::write(directory.join("cgroup.subtree_control"), wanted.join(" "));
    enabled()
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

    #[test]
    fn every_limit_is_set_on_each_version() {
        let limits = EffectiveLimits::DEFAULT;
        let files = |settings: Vec<CgroupSetting>| -> Vec<String> {
            settings.into_iter().map(|setting| setting.file).collect()
        };
        let v2 = files(v2_settings(&limits));
        for file in ["memory.max", "memory.swap.max", "cpu.max", "pids.max"] {
            assert!(v2.iter().any(|f| f == file), "{file}");
        }
        let v1 = |name: &str| v1_settings(Path::new(name), &limits).map(files);
        assert!(
            v1("/c/cpu,cpuacct")
                .unwrap()
                .contains(&"cpu.cfs_quota_us".to_owned())
        );
        assert!(
            v1("/c/memory")
                .unwrap()
                .contains(&"memory.limit_in_bytes".to_owned())
        );
        assert!(v1("/c/pids").unwrap().contains(&"pids.max".to_owned()));
        assert_eq!(v1("/c/devices").unwrap()[0], "devices.deny");
        assert_eq!(v1("/c/cpuset"), None);
    }
}
