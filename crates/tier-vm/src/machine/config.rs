//! What a machine is made of.

use std::fs::File;

use axo_runner::Cgroup;
use axo_tier_oci::supervise::LeftBehind;

/// What every machine has, booted or restored. The files are opened by us and read-only in the jail;
/// the machine's user must be able to read them, so that their mode lets everybody, and the directory
/// that they lie in nobody.
pub struct MachineConfig {
    /// Letters, digits and `-`, at most 64 of them; the name of its cgroup.
    pub id: String,
    /// Firecracker's program: mode 0755.
    pub firecracker: File,
    /// The jailer's: mode 0755.
    pub jailer: File,
    /// Disks, `/dev/vda` first. For a machine that is restored, those of the machine that was stored.
    pub disks: Vec<File>,
    /// Where it is accounted.
    pub cgroup: Cgroup,
    /// What is to be done if its runner leaves something.
    pub left_behind: LeftBehind,
}

/// What a machine that boots has besides.
pub struct Guest {
    /// Virtual processors.
    pub vcpus: u8,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// An ELF kernel.
    pub kernel: File,
    /// The initramfs.
    pub initramfs: File,
    /// The kernel's command line.
    pub command_line: String,
}
