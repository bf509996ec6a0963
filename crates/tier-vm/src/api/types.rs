//! What is said to Firecracker, by the names of its API (1.12; the same in 1.17).

use serde::{Deserialize, Serialize};

/// `PUT /machine-config`.
#[derive(Clone, Debug, Serialize)]
pub struct MachineSize {
    /// Virtual processors, 1 to 32.
    pub vcpu_count: u8,
    /// Memory, in MiB.
    pub mem_size_mib: u32,
    /// Whether the guest sees hardware threads: what one of them does shows in the other.
    pub smt: bool,
}

/// `PUT /boot-source`.
#[derive(Clone, Debug, Serialize)]
pub struct BootSource {
    /// An ELF kernel, by its path in the jail.
    pub kernel_image_path: String,
    /// The initramfs, by its path in the jail.
    pub initrd_path: String,
    /// The kernel's command line.
    pub boot_args: String,
}

/// `PUT /drives/{drive_id}`.
#[derive(Clone, Debug, Serialize)]
pub struct Drive {
    /// Its name.
    pub drive_id: String,
    /// Its file in the jail.
    pub path_on_host: String,
    /// Whether the kernel is told to boot from it.
    pub is_root_device: bool,
    /// Whether the guest may not write it.
    pub is_read_only: bool,
}

/// `PUT /vsock`.
#[derive(Clone, Debug, Serialize)]
pub struct Vsock {
    /// The guest's address.
    pub guest_cid: u32,
    /// The socket in the jail that the host connects to.
    pub uds_path: String,
}

/// `PUT /actions`.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceAction {
    /// What is to be done.
    pub action_type: ActionType,
}

/// What can be done to a machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum ActionType {
    /// It boots.
    InstanceStart,
}

/// `PATCH /vm`.
#[derive(Clone, Debug, Serialize)]
pub struct VmUpdate {
    /// What its processors do from now on.
    pub state: VmState,
}

/// What the processors of a machine do.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum VmState {
    /// Nothing.
    Paused,
    /// They run.
    Resumed,
}

/// `PUT /snapshot/create`.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotCreate {
    /// What is written.
    pub snapshot_type: SnapshotType,
    /// The file in the jail that the machine's state is written to.
    pub snapshot_path: String,
    /// The file in the jail that its memory is written to.
    pub mem_file_path: String,
}

/// What a snapshot has.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum SnapshotType {
    /// All memory.
    Full,
}

/// `PUT /snapshot/load`.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotLoad {
    /// The file in the jail that has the machine's state.
    pub snapshot_path: String,
    /// Where its memory comes from.
    pub mem_backend: MemoryBackend,
    /// Whether it runs at once.
    pub resume_vm: bool,
}

/// Where the memory of a restored machine comes from.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryBackend {
    /// Who reads it.
    pub backend_type: BackendType,
    /// By its path in the jail.
    pub backend_path: String,
}

/// Who reads the memory of a restored machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum BackendType {
    /// The kernel, page by page, from a file that stays as it is.
    File,
}

/// Of `GET /version`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) firecracker_version: String,
}

/// Of every answer that is none.
#[derive(Debug, Deserialize)]
pub(super) struct FaultBody {
    pub(super) fault_message: String,
}
