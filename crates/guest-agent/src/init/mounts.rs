//! The file systems of the kernel's own, and what is in memory.

use std::ffi::CStr;
use std::fs::{create_dir_all, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axo_guest_proto::machine::CGROUPS;
use rustix::mount::{MountFlags, mount};

use super::step::{Failed, Step as _};

struct Mount {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: &'static CStr,
}

const PLAIN: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// In this order. What is in memory is bounded; a container brings its own.
const MOUNTS: [Mount; 7] = [
    Mount::new("proc", "/proc", PLAIN, c""),
    Mount::new("sysfs", "/sys", PLAIN, c""),
    Mount::new("devtmpfs", "/dev", DEVICES, c"mode=0755"),
    Mount::new("devpts", "/dev/pts", DEVICES, c"mode=0620,ptmxmode=0666"),
    Mount::new("tmpfs", "/dev/shm", PLAIN, c"mode=1777,size=1m"),
    Mount::new("tmpfs", "/run", PLAIN, c"mode=0755,size=1m"),
    Mount::new("cgroup2", CGROUPS, PLAIN, c""),
];

/// What the cgroup of a container is limited by.
const CONTROLLERS: &str = "+cpu +memory +pids";

pub(super) fn mount_all() -> Result<(), Failed> {
    for Mount {
        kind,
        at,
        flags,
        options,
    } in MOUNTS
    {
        create_dir_all(at).step(format_args!("mounts: making {at}"))?;
        mount(kind, at, kind, flags, options).step(format_args!("mounts: {kind} at {at}"))?;
    }
    // A runner mounts its stage there, which only it sees.
    create_dir_all("/tmp").step("mounts: making /tmp")?;
    set_permissions("/tmp", PermissionsExt::from_mode(0o1777)).step("mounts: opening /tmp")?;
    write(
        Path::new(CGROUPS).join("cgroup.subtree_control"),
        CONTROLLERS,
    )
    .step("mounts: enabling the controllers cpu, memory and pids")
}

impl Mount {
    const fn new(
        kind: &'static str,
        at: &'static str,
        flags: MountFlags,
        options: &'static CStr,
    ) -> Self {
        Self {
            kind,
            at,
            flags,
            options,
        }
    }
}
