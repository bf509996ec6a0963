//! What engine and runner say to each other about a microVM.

use serde::{Deserialize, Serialize};

use crate::protocol::{Cgroup, Status};

/// A machine to be started: Firecracker in its jail, which then waits for what its API is told.
///
/// With it come, in this order: the end of a pipe that the machine's console is written to, what keeps
/// its user from being another machine's, which the runner holds as long as it lives, the programs
/// `firecracker` and `jailer`, and each of [`PrepareMachine::files`]. One that may be kept has three
/// more before the programs; see [`Keep`].
#[derive(Debug, Serialize, Deserialize)]
pub struct PrepareMachine {
    /// Its identity: letters, digits and `-`, at most [`PrepareMachine::MAX_ID_BYTES`] of them.
    pub id: String,
    /// Whom Firecracker runs as: a user of this machine's own.
    pub uid: u32,
    /// The same for the group.
    pub gid: u32,
    /// Where it is accounted.
    pub cgroup: Cgroup,
    /// What is put into its jail.
    pub files: Vec<JailFile>,
    /// Largest file that Firecracker may write, in bytes (`RLIMIT_FSIZE`): a snapshot's memory, if
    /// one is to be made.
    pub file_bytes: u64,
    /// Whether it may be kept when the engine is gone.
    pub keep: Option<Keep>,
}

impl PrepareMachine {
    /// What the jailer takes.
    pub const MAX_ID_BYTES: usize = 64;
}

/// A machine that outlives who had it made, once that has said so ([`Request::Keep`](crate::Request)).
/// Its runner is then its keeper: it answers on a socket, one [`Ask`] a connection, and ends the machine
/// in the end whatever happens.
///
/// With it come, in this order: the listening socket (`SOCK_SEQPACKET`), a file for its
/// [`Account`], and the end of the console's pipe that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// How long after its start it is ended.
    pub total_seconds: u64,
}

/// What a keeper is asked. It hears only processes of its own user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// For the root directory of the machine's jail.
    Root,
    /// To end the machine.
    End,
}

/// What a keeper answers. One that closes the connection instead is about to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// The machine runs. With it comes the root directory of the jail, opened with `O_PATH`.
    Root,
    /// Nothing of it is left, unless the [`Account`] says so.
    Ended,
}

/// What a keeper writes, as JSON, when its machine has come to its end. Without one it was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Who ended it.
    pub by: EndedBy,
    /// How it ended, if that is known.
    pub ended: Option<MachineEnded>,
    /// What went wrong, if anything did.
    pub failed: Option<String>,
    /// The end of what the machine wrote to its console since it was kept; hostile.
    pub last: String,
}

impl Account {
    /// Bytes of the console that it tells at most.
    pub const MAX_LAST_BYTES: usize = 4096;
}

/// Who ended a machine that could be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndedBy {
    /// Itself, or somebody who is not known.
    Itself,
    /// Who had it made, or who went before it was to be kept.
    Maker,
    /// Somebody who asked its keeper.
    Asked,
    /// Its keeper: its time was over.
    TotalTime,
}

/// A file in the root of a machine's jail. It must be a regular file which the machine's user may
/// read, and write where it is to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailFile {
    /// What it is called there.
    pub name: String,
    /// Whether Firecracker may write it.
    pub writable: bool,
}

/// Where a machine's sockets are in its jail, whose root directory comes with
/// [`Reply::MachineRuns`](crate::Reply::MachineRuns). Whoever opens them must not follow symbolic
/// links: the directory is the machine's.
pub const API_SOCKET: &str = "api.sock";

/// The file that the jailer writes when it is done, just before it becomes Firecracker.
pub const JAILER_DONE: &str = "firecracker.pid";

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineEnded {
    /// The status of the jailer, or of Firecracker.
    pub status: Status,
    /// Whether the kernel killed a process of the machine for memory.
    pub out_of_memory: bool,
    /// Processor time, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Most memory at once, in bytes.
    pub peak_memory: Option<u64>,
}
