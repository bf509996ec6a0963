//! What files of the host say about containers, without starting one: so that a cause has its name
//! even where podman's message has changed.
//!
//! A file that looks bad stops nobody: distributions have other ways, and only a container that does
//! not start is a fact. So what is found here is told beside the failure, and never instead of a try.

use std::path::Path;

use super::classify::{apparmor_restricts, is_cgroup_v1, selinux_enforces};
use super::findings::{Cause, Finding};
use super::host::Host;
use super::repair::{Package, are_elsewhere, lacking};

/// Controllers that limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Runtimes other than podman's own that are tried, in this order: they take the same options.
pub(super) const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];
/// Where podman looks for its helpers, besides the system's directories for programs
/// (`containers.conf(5)`, `conmon_path` and `helper_binaries_dir`).
const HELPER_DIRECTORIES: [&str; 5] = [
    "usr/local/libexec/podman",
    "usr/local/lib/podman",
    "usr/libexec/podman",
    "usr/lib/podman",
    "run/current-system/sw/bin",
];
/// Where the plugins of CNI are, which podman 4 used before netavark.
const CNI_DIRECTORIES: [&str; 4] = [
    "usr/libexec/cni",
    "usr/lib/cni",
    "usr/local/lib/cni",
    "opt/cni/bin",
];
/// The first kernel that mounts overlays for ordinary users and labels them right (podman(1), on
/// storage drivers: 5.12.9).
const OVERLAYS_FOR_USERS: (u32, u32) = (5, 13);

/// What looks as if it stopped containers of this user.
pub(super) fn examine(host: &Host, directory: &Path) -> Vec<Finding> {
    let mut causes = Vec::new();
    if host.os().is_linux() {
        causes.extend(of_cgroups(host));
        causes.extend(of_programs(host));
        if !host.is_root() {
            causes.extend(of_namespaces(host));
            causes.extend(subordinate_ids(host));
            causes.extend(uidmap(host));
            causes.extend(runtime_directory(host));
            causes.extend(overlays(host));
        }
        causes.extend(of_directory(host, directory));
    }
    let findings = causes.into_iter();
    findings
        .map(|(cause, evidence)| Finding::new(host, cause, evidence))
        .collect()
}

/// What does not stop containers, but leaves something out that sessions may ask for.
pub(super) fn shortcomings(host: &Host, rootless: bool) -> Vec<Finding> {
    if !host.os().is_linux() {
        return Vec::new();
    }
    let ids = subordinate_ids(host).filter(|_| rootless);
    let network = network(host, rootless);
    let findings = ids.into_iter().chain(network);
    findings
        .map(|(cause, evidence)| Finding::new(host, cause, evidence))
        .collect()
}

/// What a container that is to be connected to a network lacks.
pub(crate) fn unconnected(host: &Host) -> Option<Finding> {
    // Elsewhere its machine has what it takes.
    if !host.os().is_linux() {
        return None;
    }
    let (cause, evidence) = network(host, !host.is_root())?;
    Some(Finding::new(host, cause, evidence))
}

type Found = (Cause, String);

fn of_namespaces(host: &Host) -> Vec<Found> {
    let mut found = Vec::new();
    for name in [
        "kernel/unprivileged_userns_clone",
        "user/max_user_namespaces",
    ] {
        if host.number(&format!("proc/sys/{name}")) == Some(0) {
            found.push((Cause::UserNamespacesOff, format!("/proc/sys/{name} is 0")));
        }
    }
    let has_profile = host.metadata("etc/apparmor.d/podman").is_some();
    if apparmor_restricts(host) && !has_profile {
        let evidence = "kernel.apparmor_restrict_unprivileged_userns is 1, and \
                        /etc/apparmor.d/podman does not exist";
        found.push((Cause::AppArmorUserNamespaces, evidence.to_owned()));
    }
    found
}

fn subordinate_ids(host: &Host) -> Option<Found> {
    if are_elsewhere(host) {
        return None;
    }
    let lacking: Vec<String> = lacking(host)
        .into_iter()
        .map(|(file, count)| format!("/{file} gives this user {count} ids of 65536"))
        .collect();
    (!lacking.is_empty()).then(|| (Cause::NoSubordinateIds, lacking.join("; ")))
}

fn uidmap(host: &Host) -> Option<Found> {
    for name in ["newuidmap", "newgidmap"] {
        let Some(path) = host.find_of_system(name) else {
            let evidence = format!("{name} is not on the search path");
            return Some((Cause::UidmapMissing, evidence));
        };
        if !is_privileged(&path) {
            let evidence = format!(
                "{} has neither set-user-ID bit nor capability",
                path.display()
            );
            return Some((Cause::UidmapUnprivileged, evidence));
        }
    }
    None
}

/// Whether a program runs with more than its caller's rights.
#[cfg(target_os = "linux")]
fn is_privileged(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const SET_USER_ID: u32 = 0o4000;
    let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
    let mut capabilities = [0_u8; 64];
    mode & SET_USER_ID != 0
        || rustix::fs::getxattr(path, "security.capability", &mut capabilities[..]).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_privileged(_: &Path) -> bool {
    true
}

fn runtime_directory(host: &Host) -> Option<Found> {
    match host.runtime_directory() {
        Some(_) => None,
        None => Some((
            Cause::NoRuntimeDirectory,
            format!(
                "neither XDG_RUNTIME_DIR nor /run/user/{} is a directory of this user",
                host.uid()
            ),
        )),
    }
}

fn overlays(host: &Host) -> Option<Found> {
    let release = host.read("proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let kernel = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let evidence = if kernel >= OVERLAYS_FOR_USERS {
        return None;
    } else if host.find_of_system("fuse-overlayfs").is_none() {
        "fuse-overlayfs is not on the search path"
    } else if host.metadata("dev/fuse").is_none() {
        "/dev/fuse does not exist"
    } else {
        return None;
    };
    let evidence = format!("Linux {}: {evidence}", release.trim());
    Some((Cause::FuseOverlayfsMissing, evidence))
}

fn of_programs(host: &Host) -> Vec<Found> {
    let mut found = Vec::new();
    if find_helper(host, "conmon").is_none() {
        let evidence = "conmon is in none of podman's directories";
        found.push((Cause::ConmonMissing, evidence.to_owned()));
    }
    if RUNTIMES
        .iter()
        .all(|name| host.find_of_system(name).is_none())
    {
        let evidence = format!("none of {} is on the search path", RUNTIMES.join(", "));
        found.push((Cause::RuntimeMissing, evidence));
    }
    found
}

fn find_helper(host: &Host, name: &str) -> Option<std::path::PathBuf> {
    let in_directories = || {
        let mut paths = HELPER_DIRECTORIES.iter().map(|d| Path::new(d).join(name));
        paths.find(|path| host.metadata(path).is_some())
    };
    host.find_of_system(name).or_else(in_directories)
}

fn of_cgroups(host: &Host) -> Option<Found> {
    let at = Path::new("sys/fs/cgroup");
    if let Some(controllers) = host.read(at.join("cgroup.controllers")) {
        let (place, controllers) = match delegated(host) {
            Some((place, controllers)) if !host.is_root() => (place, controllers),
            _ => ("/sys/fs/cgroup/cgroup.controllers".to_owned(), controllers),
        };
        let has = |name: &str| controllers.split_whitespace().any(|word| word == name);
        let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(name)).collect();
        return (!missing.is_empty()).then(|| {
            let evidence = format!("{place} lacks {}", missing.join(", "));
            (Cause::LimitsNotEnforced, evidence)
        });
    }
    if !is_cgroup_v1(host) {
        let evidence = "/sys/fs/cgroup has neither cgroup.controllers nor memory";
        return Some((Cause::CgroupsMissing, evidence.to_owned()));
    }
    if !host.is_root() {
        let evidence = "/sys/fs/cgroup/cgroup.controllers does not exist";
        return Some((Cause::CgroupV1Rootless, evidence.to_owned()));
    }
    let missing: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|name| host.metadata(at.join(name)).is_none())
        .collect();
    (!missing.is_empty()).then(|| {
        let evidence = format!("/sys/fs/cgroup lacks {}", missing.join(", "));
        (Cause::LimitsNotEnforced, evidence)
    })
}

/// What systemd gives this user's own services, or else what the cgroup of this process has.
fn delegated(host: &Host) -> Option<(String, String)> {
    let uid = host.uid();
    let of_user = format!("user.slice/user-{uid}.slice/user@{uid}.service");
    let own = host.read("proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    [Some(of_user.as_str()), own]
        .into_iter()
        .flatten()
        .find_map(|cgroup| {
            let path = Path::new("sys/fs/cgroup")
                .join(cgroup)
                .join("cgroup.controllers");
            let controllers = host.read(&path)?;
            Some((format!("/{}", path.display()), controllers))
        })
}

fn of_directory(host: &Host, directory: &Path) -> Option<Found> {
    if selinux_enforces(host) {
        let evidence = "SELinux is enforcing".to_owned();
        return Some((Cause::Selinux, evidence));
    }
    forbids_programs(directory).then(|| {
        let evidence = format!("{} is mounted with noexec", directory.display());
        (Cause::NoExec, evidence)
    })
}

#[cfg(unix)]
fn forbids_programs(directory: &Path) -> bool {
    use rustix::fs::StatVfsMountFlags;
    rustix::fs::statvfs(directory)
        // The flag of that name, which rustix does not have on all systems.
        .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

#[cfg(not(unix))]
fn forbids_programs(_: &Path) -> bool {
    false
}

/// What is missing of what podman connects containers to the network with.
pub(super) fn missing_helpers(host: &Host) -> Vec<Package> {
    missing_helpers_of(host, !host.is_root())
}

fn missing_helpers_of(host: &Host, rootless: bool) -> Vec<Package> {
    let mut missing = Vec::new();
    let has_cni = CNI_DIRECTORIES
        .iter()
        .any(|directory| host.metadata(Path::new(directory).join("bridge")).is_some());
    if find_helper(host, "netavark").is_none() && !has_cni {
        missing.push(Package::Netavark);
    }
    let has_helper = ["slirp4netns", "pasta"]
        .iter()
        .any(|name| find_helper(host, name).is_some());
    if rootless && !has_helper {
        missing.push(Package::Slirp4netns);
    }
    missing
}

fn network(host: &Host, rootless: bool) -> Option<Found> {
    let missing = missing_helpers_of(host, rootless);
    if !missing.is_empty() {
        let names: Vec<&str> = missing
            .iter()
            .map(|package| match package {
                Package::Netavark => "netavark",
                _ => "slirp4netns or pasta",
            })
            .collect();
        let evidence = format!("missing: {}", names.join(", "));
        return Some((Cause::NetworkHelperMissing, evidence));
    }
    if !rootless {
        return None;
    }
    let device = host.path(Path::new("dev/net/tun"));
    (!is_usable(&device)).then(|| {
        let evidence = "/dev/net/tun cannot be read and written by this user".to_owned();
        (Cause::NetworkDevice, evidence)
    })
}

#[cfg(unix)]
fn is_usable(device: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(device, Access::READ_OK | Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_usable(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ordinary user's host that lacks nothing, but what `change` changes.
    fn examined(change: impl Fn(&Path)) -> Vec<Cause> {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, content: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        };
        for program in ["conmon", "crun", "newuidmap", "newgidmap", "slirp4netns"] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = file(&format!("usr/bin/{program}"), "");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o4755)).unwrap();
        }
        let us = rustix::process::geteuid().as_raw();
        file("usr/lib/podman/netavark", "");
        file("dev/net/tun", "");
        file("etc/subuid", "1000:100000:65536\n");
        file("etc/subgid", "1000:100000:65536\n");
        file("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
        file("proc/sys/user/max_user_namespaces", "96365\n");
        file("proc/self/cgroup", "0::/user.slice/session.scope\n");
        let of_user =
            "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";
        file(of_user, "cpuset cpu io memory pids\n");
        file(
            "sys/fs/cgroup/cgroup.controllers",
            "cpuset cpu io memory pids\n",
        );
        // A directory of the test's user in place of user 1000.
        file("run/user/1000/x", "");
        change(root.path());
        let host = Host::bare().with_root(root.path());
        // The directory cannot be given to another user, where the tests are not root's.
        let own = us == 0 && {
            std::os::unix::fs::chown(root.path().join("run/user/1000"), Some(1000), None).is_ok()
        };
        let findings = examine(&host, root.path()).into_iter();
        let network = shortcomings(&host, true).into_iter();
        let network = network.filter(|finding| finding.cause != Cause::NoSubordinateIds);
        findings
            .chain(network)
            .map(|finding| finding.cause)
            .filter(|cause| own || *cause != Cause::NoRuntimeDirectory)
            .collect()
    }

    #[test]
    fn a_host_that_lacks_nothing_is_suspected_of_nothing() {
        assert_eq!(examined(|_| {}), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        type Change = fn(&Path);
        let cases: [(Cause, Change); 15] = [
            (Cause::UserNamespacesOff, |root| {
                write(root, "proc/sys/user/max_user_namespaces", "0\n");
            }),
            (Cause::UserNamespacesOff, |root| {
                write(root, "proc/sys/kernel/unprivileged_userns_clone", "0\n");
            }),
            (Cause::AppArmorUserNamespaces, |root| {
                let setting = "proc/sys/kernel/apparmor_restrict_unprivileged_userns";
                write(root, setting, "1\n");
            }),
            (Cause::NoSubordinateIds, |root| {
                write(root, "etc/subuid", "1000:1:100\n")
            }),
            (Cause::NoSubordinateIds, |root| remove(root, "etc/subgid")),
            (Cause::UidmapMissing, |root| {
                remove(root, "usr/bin/newgidmap")
            }),
            (Cause::UidmapUnprivileged, |root| {
                use std::os::unix::fs::PermissionsExt as _;
                let path = root.join("usr/bin/newuidmap");
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }),
            (Cause::LimitsNotEnforced, |root| {
                let of_user =
                    "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";
                write(root, of_user, "memory pids\n");
            }),
            (Cause::CgroupV1Rootless, |root| {
                remove(root, "sys/fs/cgroup/cgroup.controllers");
                write(root, "sys/fs/cgroup/memory", "");
            }),
            (Cause::CgroupsMissing, |root| {
                remove(root, "sys/fs/cgroup/cgroup.controllers")
            }),
            (Cause::ConmonMissing, |root| remove(root, "usr/bin/conmon")),
            (Cause::RuntimeMissing, |root| remove(root, "usr/bin/crun")),
            (Cause::FuseOverlayfsMissing, |root| {
                write(root, "proc/sys/kernel/osrelease", "4.18.0-477.el8.x86_64\n");
            }),
            (Cause::NetworkHelperMissing, |root| {
                remove(root, "usr/bin/slirp4netns")
            }),
            (Cause::NetworkDevice, |root| remove(root, "dev/net/tun")),
        ];
        for (cause, change) in cases {
            assert_eq!(examined(change), [cause]);
        }
    }

    fn write(root: &Path, path: &str, content: &str) {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), content).unwrap();
    }

    fn remove(root: &Path, path: &str) {
        std::fs::remove_file(root.join(path)).unwrap();
    }

    #[test]
    fn a_runtime_directory_of_nobody_is_named() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::bare().with_root(root.path());
        let found = runtime_directory(&host).unwrap();
        assert_eq!(found.0, Cause::NoRuntimeDirectory);
    }

    #[test]
    fn enforcing_selinux_is_named() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/fs/selinux/enforce", "1");
        let host = Host::bare().with_root(root.path());
        assert_eq!(of_directory(&host, root.path()).unwrap().0, Cause::Selinux);
    }

    #[test]
    fn ids_of_a_directory_service_are_not_missed() {
        assert_eq!(
            examined(|root| {
                write(root, "etc/nsswitch.conf", "passwd: files\nsubid: sss\n");
                remove(root, "etc/subuid");
            }),
            []
        );
    }
}
