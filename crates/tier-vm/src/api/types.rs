//! What is said to Firecracker, by the names of its API (1.12; the same in 1.17).

use serde::{Deserialize, Serialize};

/// `PUT /machine-config`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MachineSize {
    /// Virtual processors, 1 to 32.
    pub(crate) vcpu_count: u8,
    /// Memory, in MiB.
    pub(crate) mem_size_mib: u32,
    /// Whether the guest sees hardware threads: what one of them does shows in the other.
    pub(crate) smt: bool,
}

/// `PUT /boot-source`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BootSource {
    /// An ELF kernel, by its path in the jail.
    pub(crate) kernel_image_path: String,
    /// The initramfs, by its path in the jail.
    pub(crate) initrd_path: String,
    /// The kernel's command line.
    pub(crate) boot_args: String,
}

/// `PUT /drives/{drive_id}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Drive {
    /// Its name.
    pub(crate) drive_id: String,
    /// Its file in the jail.
    pub(crate) path_on_host: String,
    /// Whether the kernel is told to boot from it.
    pub(crate) is_root_device: bool,
    /// Whether the guest may not write it.
    pub(crate) is_read_only: bool,
}

/// `PUT /vsock`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Vsock {
    /// The guest's address.
    pub(crate) guest_cid: u32,
    /// The socket in the jail that the host connects to.
    pub(crate) uds_path: String,
}

/// `PUT /actions`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InstanceAction {
    /// What is to be done.
    pub(crate) action_type: ActionType,
}

/// What can be done to a machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum ActionType {
    /// It boots.
    InstanceStart,
}

/// `PATCH /vm`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VmUpdate {
    /// What its processors do from now on.
    pub(crate) state: VmState,
}

/// What the processors of a machine do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum VmState {
    /// Nothing.
    Paused,
}

/// `PUT /snapshot/create`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SnapshotCreate {
    /// What is written.
    pub(crate) snapshot_type: SnapshotType,
    /// The file in the jail that the machine's state is written to.
    pub(crate) snapshot_path: String,
    /// The file in the jail that its memory is written to.
    pub(crate) mem_file_path: String,
}

/// What a snapshot has.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum SnapshotType {
    /// All memory.
    Full,
}

/// `PUT /snapshot/load`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SnapshotLoad {
    /// The file in the jail that has the machine's state.
    pub(crate) snapshot_path: String,
    /// Where its memory comes from.
    pub(crate) mem_backend: MemoryBackend,
    /// Whether it runs at once.
    pub(crate) resume_vm: bool,
}

/// Where the memory of a restored machine comes from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemoryBackend {
    /// Who reads it.
    pub(crate) backend_type: BackendType,
    /// By its path in the jail.
    pub(crate) backend_path: String,
}

/// Who reads the memory of a restored machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum BackendType {
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
