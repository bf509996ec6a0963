//! Tells by what podman, its runtimes and helpers say what stops a container.
//!
//! The messages are those of podman 3.4 to 5.x, conmon 2, crun 0.1 to 1.2x, runc 1.0 to 1.2 and youki,
//! as they stand in the programs' reports of faults and as this project saw them. They change; so the
//! causes that can be told without podman are looked for as well (`checks.rs`).

use super::excerpt::excerpt;
use super::findings::{Cause, Finding};
use super::host::Host;

/// What a message must have to show a cause: all of the words.
type Words = &'static [&'static str];

/// In this order: what names its cause most exactly comes first, and last what is a warning beside
/// other failures. All in lower case.
const MESSAGES: &[(Cause, &[Words])] = &[
    (
        Cause::HybridCgroups,
        &[&["cgroups in hybrid mode not supported"]],
    ),
    (
        Cause::Rlimits,
        &[
            &["rlimit", "not permitted"],
            &["rlimit", "eperm"],
            &["failed to set rlimit"],
        ],
    ),
    (
        Cause::UidmapMissing,
        &[
            &["\"newuidmap\": executable file not found"],
            &["\"newgidmap\": executable file not found"],
            &["command required for rootless mode with multiple ids"],
        ],
    ),
    (
        Cause::UidmapUnprivileged,
        &[
            &["should have setuid or have filecaps"],
            &["write to uid_map failed"],
            &["write to gid_map failed"],
            &["namespace using", "newuidmap"],
            &["namespace using", "newgidmap"],
        ],
    ),
    (
        Cause::UserNamespacesOff,
        &[
            &["user namespaces are not enabled"],
            &["max_user_namespaces"],
            &["unprivileged_userns_clone"],
            &["cannot clone:"],
            &["cannot re-exec process"],
            &["failed to reexec: permission denied"],
            &["creating new user namespace"],
        ],
    ),
    (
        Cause::StaleState,
        &[
            &["podman system migrate"],
            &["podman system renumber"],
            &["boot id differs"],
            &["database configuration mismatch"],
        ],
    ),
    (
        Cause::ConmonMissing,
        &[&["working conmon binary"], &["outdated conmon version"]],
    ),
    (
        Cause::RuntimeMissing,
        &[
            &["default oci runtime", "not found"],
            &["no valid executable found for oci runtime"],
        ],
    ),
    (
        Cause::CgroupManager,
        &[
            &["sd-bus"],
            &["/run/systemd/private"],
            &["systemd not running on this host"],
            &["systemd cgroup flag passed"],
            &["interactive authentication required"],
            &["org.freedesktop.systemd1"],
            &["dial unix /run/user/", "/bus"],
            &["dial unix /run/dbus"],
        ],
    ),
    (
        Cause::ProcMasked,
        &[
            &["mount `proc` to `proc`"],
            &["mount `/proc` to `/proc`"],
            &["mount proc to /proc"],
            &["mount through procfd", "not permitted"],
        ],
    ),
    (
        Cause::LimitsNotEnforced,
        &[
            &["requested cgroup controller", "is not available"],
            &["controller `", "is not available"],
            &["cannot set limits without cgroups"],
            &["rootless needs no limits"],
            &["cannot specify resource limits without cgroups"],
            &["resource limits are not supported and ignored"],
            &["cgroup.subtree_control"],
            &["apply cgroup configuration"],
            &["applying cgroup configuration"],
            &["creating cgroup directory"],
            &["/sys/fs/cgroup", "permission denied"],
            &["/sys/fs/cgroup", "read-only file system"],
            &["/sys/fs/cgroup", "no such file or directory"],
        ],
    ),
    (Cause::NetworkDevice, &[&["/dev/net/tun"]]),
    (
        Cause::NetworkHelperMissing,
        &[
            &["slirp4netns"],
            &["pasta"],
            &["netavark"],
            &["aardvark"],
            &["rootlessport"],
            &["failed to find plugin"],
            &["iptables"],
            &["nftables"],
        ],
    ),
    (
        Cause::FuseOverlayfsMissing,
        &[
            &["fuse: device not found"],
            &["fuse: failed to open /dev/fuse"],
            &["mount_program is required"],
            &["fuse-overlayfs"],
        ],
    ),
    (
        Cause::Storage,
        &[
            &["kernel does not support overlay fs"],
            &["backing file system is unsupported for this graph driver"],
            &["driver not supported"],
            &["overlay", "invalid argument"],
            &["overlay", "not permitted"],
            &["overlay", "not supported"],
            &["overlay", "no such device"],
        ],
    ),
    (
        Cause::NoRuntimeDirectory,
        &[
            &["xdg_runtime_dir"],
            &["runroot is pointing to a path"],
            &["/run/user/", "permission denied"],
            &["/run/user/", "no such file or directory"],
        ],
    ),
    (Cause::WrongProgram, &[&["exec format error"], &["enoexec"]]),
    (
        Cause::NoExec,
        &[
            &["/agent", "permission denied"],
            &["open executable", "permission denied"],
        ],
    ),
    (
        Cause::PodmanTooOld,
        &[&["unknown flag"], &["unknown shorthand flag"]],
    ),
    (
        Cause::NoSubordinateIds,
        &[
            &["no subuid ranges found"],
            &["no subgid ranges found"],
            &["cannot find uid/gid for user"],
            &["not be enough ids available in the namespace"],
            &["insufficient uids or gids"],
        ],
    ),
];

/// What a failed command of podman's shows.
pub(super) fn classify(host: &Host, stderr: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(stderr).to_lowercase();
    let shows = |words: &Words| words.iter().all(|word| text.contains(word));
    let cause = MESSAGES
        .iter()
        .find(|(_, alternatives)| alternatives.iter().any(shows))
        .map_or(Cause::Unknown, |(cause, _)| *cause);
    let evidence = match excerpt(stderr) {
        said if said.is_empty() => "podman said nothing".to_owned(),
        said => said,
    };
    Finding::new(host, refine(host, cause), evidence)
}

/// The same message has other reasons, and repairs, where another part of the host is in charge.
fn refine(host: &Host, cause: Cause) -> Cause {
    match cause {
        Cause::UserNamespacesOff if apparmor_restricts(host) => Cause::AppArmorUserNamespaces,
        Cause::NoExec if selinux_enforces(host) => Cause::Selinux,
        Cause::LimitsNotEnforced if !host.is_root() && is_cgroup_v1(host) => {
            Cause::CgroupV1Rootless
        }
        other => other,
    }
}

/// Whether AppArmor gives user namespaces to programs with a profile only (Ubuntu since 23.10).
pub(super) fn apparmor_restricts(host: &Host) -> bool {
    host.number("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1)
}

pub(super) fn selinux_enforces(host: &Host) -> bool {
    host.number("sys/fs/selinux/enforce") == Some(1)
}

/// Whether controllers are in cgroups of version 1, alone or beside an empty tree of version 2.
pub(super) fn is_cgroup_v1(host: &Host) -> bool {
    host.metadata("sys/fs/cgroup/cgroup.controllers").is_none()
        && host.metadata("sys/fs/cgroup/memory").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What programs said, in this project and in reports of faults (podman's issues 2788, 5023, 5422,
    /// 6368, 7417, 7704, 8705, 9813, 10864, 11563, 11719, 11724, 12637, 13891, 15370, 16529, 16958, 17358,
    /// 20453, 21484, 21738, 22606, 23596, 24285, 24642; runc's 2163; crun's 704).
    const SAID: &[(Cause, &str)] = &[
        (
            Cause::HybridCgroups,
            "Error: OCI runtime error: crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2",
        ),
        (
            Cause::Rlimits,
            "Error: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
        ),
        (
            Cause::Rlimits,
            "Error: runc: runc create failed: unable to start container process: error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: OCI permission denied",
        ),
        (
            Cause::UidmapMissing,
            "Error: command required for rootless mode with multiple IDs: exec: \"newuidmap\": executable file not found in $PATH",
        ),
        (
            Cause::UidmapUnprivileged,
            "ERRO[0000] running `/usr/bin/newuidmap 1 0 1000 1 1 100000 65536`: newuidmap: write to uid_map failed: Operation not permitted\nError: cannot set up namespace using \"/usr/bin/newuidmap\": should have setuid or have filecaps setuid: exit status 1",
        ),
        (
            Cause::UidmapUnprivileged,
            "Error: cannot setup namespace using newuidmap: exit status 1",
        ),
        (
            Cause::UserNamespacesOff,
            "cannot clone: Invalid argument\nuser namespaces are not enabled in /proc/sys/user/max_user_namespaces\nError: could not get runtime: cannot re-exec process",
        ),
        (
            Cause::UserNamespacesOff,
            "cannot clone: Operation not permitted\nError: cannot re-exec process",
        ),
        (Cause::UserNamespacesOff, "cannot clone: Permission denied"),
        (
            Cause::UserNamespacesOff,
            "Error: failed to reexec: Permission denied",
        ),
        (
            Cause::StaleState,
            "Error: invalid internal status, try resetting the pause process with \"/usr/bin/podman system migrate\": could not find any running process: no such process",
        ),
        (
            Cause::StaleState,
            "Error: database storage graph driver \"vfs\" does not match our storage graph driver \"overlay\": database configuration mismatch",
        ),
        (
            Cause::ConmonMissing,
            "Error: could not find a working conmon binary (configured options: [/usr/libexec/podman/conmon /usr/bin/conmon]): invalid argument",
        ),
        (
            Cause::ConmonMissing,
            "Error: please update to v2.0.1 or later: outdated conmon version",
        ),
        (
            Cause::RuntimeMissing,
            "Error: default OCI runtime \"crun\" not found: invalid argument",
        ),
        (
            Cause::RuntimeMissing,
            "Error: no valid executable found for OCI runtime /usr/bin/nonesuch: invalid argument",
        ),
        (
            Cause::CgroupManager,
            "Error: crun: sd-bus call: Interactive authentication required.: Permission denied: OCI permission denied",
        ),
        (
            Cause::CgroupManager,
            "time=\"x\" level=warning msg=\"Failed to add conmon to systemd sandbox cgroup: dial unix /run/systemd/private: connect: no such file or directory\"\nError: OCI runtime error: runc: runc create failed: systemd not running on this host, cannot use systemd cgroups manager",
        ),
        (
            Cause::CgroupManager,
            "Error: creating cgroup user.slice: dial unix /run/user/1000/bus: connect: connection refused",
        ),
        (
            Cause::CgroupManager,
            "systemd cgroup flag passed, but systemd support for managing cgroups is not available: OCI runtime error",
        ),
        (
            Cause::LimitsNotEnforced,
            "WARN[0005] Failed to add conmon to cgroupfs sandbox cgroup: creating cgroup path /libpod_parent/conmon: write /sys/fs/cgroup/cgroup.subtree_control: invalid argument\nError: OCI runtime error: crun: the requested cgroup controller `pids` is not available",
        ),
        (
            Cause::LimitsNotEnforced,
            "Error: cannot set limits without cgroups: OCI runtime error",
        ),
        (
            Cause::LimitsNotEnforced,
            "Error: container_linux.go:380: starting container process caused: process_linux.go:385: applying cgroup configuration for process caused: rootless needs no limits + no cgrouppath when no permission is granted for cgroups: mkdir /sys/fs/cgroup/530a: permission denied: OCI permission denied",
        ),
        (
            Cause::LimitsNotEnforced,
            "Error: crun: opening file `/sys/fs/cgroup/user.slice/memory.max` for writing: Permission denied: OCI permission denied",
        ),
        (
            Cause::NetworkDevice,
            "Error: /usr/bin/slirp4netns failed: \"open(\\\"/dev/net/tun\\\"): Permission denied\\nchild failed(1)\\n\"",
        ),
        (
            Cause::NetworkHelperMissing,
            "Error: could not find slirp4netns, the network namespace can't be configured: exec: \"slirp4netns\": executable file not found in $PATH",
        ),
        (
            Cause::NetworkHelperMissing,
            "Error: could not find \"netavark\" in one of [/usr/local/libexec/podman /usr/lib/podman].",
        ),
        (
            Cause::NetworkHelperMissing,
            "Error: netavark: iptables: No such file or directory (os error 2)",
        ),
        (
            Cause::Storage,
            "Error: kernel does not support overlay fs: 'overlay' is not supported over extfs at \"/home/me/.local/share/containers/storage/overlay\": backing file system is unsupported for this graph driver",
        ),
        (
            Cause::FuseOverlayfsMissing,
            "Error: 'overlay' is not supported over overlayfs, a mount_program is required: backing file system is unsupported for this graph driver",
        ),
        (
            Cause::FuseOverlayfsMissing,
            "fuse: device not found, try 'modprobe fuse' first\nfuse-overlayfs: cannot mount: No such device",
        ),
        (
            Cause::ProcMasked,
            "Error: crun: mount `proc` to `proc`: Operation not permitted: OCI permission denied",
        ),
        (
            Cause::ProcMasked,
            "Error: mount through procfd: operation not permitted: OCI permission denied",
        ),
        (
            Cause::NoRuntimeDirectory,
            "the path in $XDG_RUNTIME_DIR must be writable by the user\nError: runc: mkdir /nonexistent: permission denied",
        ),
        (
            Cause::NoRuntimeDirectory,
            "Error: stat /run/user/1000: no such file or directory",
        ),
        (Cause::WrongProgram, "exec /agent: exec format error"),
        (
            Cause::NoExec,
            "Error: runc: runc create failed: unable to start container process: exec /agent: permission denied: OCI permission denied",
        ),
        (
            Cause::PodmanTooOld,
            "Error: unknown flag: --read-only-tmpfs\nSee 'podman run --help'",
        ),
        (
            Cause::NoSubordinateIds,
            "time=\"x\" level=error msg=\"cannot find UID/GID for user me: no subuid ranges found for user \\\"me\\\" in /etc/subuid - check rootless mode in man pages.\"",
        ),
        (
            Cause::NoSubordinateIds,
            "Error: there might not be enough IDs available in the namespace (requested 0:42 for /etc/gshadow)",
        ),
        (Cause::Unknown, "Error: the moon is wrong"),
        (Cause::Unknown, ""),
    ];

    #[test]
    fn what_programs_said_has_its_cause() {
        let host = Host::bare();
        for (cause, said) in SAID {
            let finding = classify(&host, said.as_bytes());
            assert_eq!(finding.cause, *cause, "{said}");
            assert!(!finding.evidence.is_empty());
        }
    }

    #[test]
    fn who_is_in_charge_of_the_host_tells_the_same_message_apart() {
        let files = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = root.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let host = Host::bare().with_root(root.path());
            (root, host)
        };
        let cause = |host: &Host, said: &str| classify(host, said.as_bytes()).cause;

        let setting = "proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        let (_root, ubuntu) = files(&[(setting, "1\n")]);
        let clone = "cannot clone: Permission denied";
        assert_eq!(cause(&ubuntu, clone), Cause::AppArmorUserNamespaces);

        let (_root, fedora) = files(&[("sys/fs/selinux/enforce", "1")]);
        let exec = "Error: crun: open executable: Permission denied: OCI permission denied";
        assert_eq!(cause(&fedora, exec), Cause::Selinux);
        assert_eq!(cause(&ubuntu, exec), Cause::NoExec);

        let (_root, old) = files(&[("sys/fs/cgroup/memory/tasks", "")]);
        let limits = "Resource limits are not supported and ignored on cgroups V1 rootless systems";
        assert_eq!(cause(&old, limits), Cause::CgroupV1Rootless);
        assert_eq!(cause(&old.with_user(0), limits), Cause::LimitsNotEnforced);
    }
}
