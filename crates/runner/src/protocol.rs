//! What engine and runner say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::machine::{MachineEnded, PrepareMachine};

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make a container. With it come, in this order, the ends of the tool's standard output and
    /// error that it writes to, its root file system, and the source of each of [`Prepare::binds`].
    Prepare(Box<Prepare>),
    /// Start a microVM in its jail. What comes with it is said there.
    Machine(Box<PrepareMachine>),
    /// Run the tool.
    Start(Launch),
    /// End it.
    Kill,
    /// Let a machine that may be kept go on without us.
    Keep,
}

/// From the runner.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The container waits. With it comes the input file, empty and open for writing.
    Prepared,
    /// The tool runs.
    Started,
    /// It ended. With it comes the output file if [`Exited::output`] is [`OutputFound::Opened`].
    Exited(Exited),
    /// The machine's jailer was started. With it comes the root directory of the jail, opened with
    /// `O_PATH`. It has the API's socket as soon as Firecracker listens.
    MachineRuns,
    /// It goes on whatever becomes of the engine.
    Kept,
    /// The machine has ended.
    MachineEnded(MachineEnded),
    /// It could not be done; the runner removes what there is and ends.
    Failed {
        /// What was being done.
        doing: String,
        /// Why it failed.
        why: String,
        /// What is at fault.
        fault: Fault,
    },
}

/// What is at fault where something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The host, or we.
    Host,
    /// The tool's program, which cannot be executed.
    Program,
    /// The memory limit, which leaves no room to make the container.
    Memory,
}

/// Exit status of a runner that could not remove everything of its sandbox. With any other but a
/// signal, nothing is left.
pub const LEFT_SOMETHING: u8 = 3;

/// A container to be made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// Its identity: letters, digits and `-`.
    pub id: String,
    /// OCI `config.json`, complete but for the user namespace, which the runner adds.
    pub config: String,
    /// Seccomp filters in the order they are installed; one classic BPF instruction each: `code << 48 | jt << 40 | jf << 32 | k`.
    pub seccomp: Vec<Vec<u64>>,
    /// Who the sandbox's users are on the host.
    pub users: Users,
    /// Where it is accounted.
    pub cgroup: Cgroup,
    /// What the tool may write.
    pub scratch: Scratch,
    /// Whether its root file system can be written.
    pub root: RootAccess,
    /// Whether a listening socket comes with it, after the root file system: the program's descriptor
    /// [`Prepare::LISTENER`]. Its standard input is then empty, and `/axocoatl` not for its documents.
    pub listener: bool,
    /// Whether its loopback interface is up. It has no other.
    pub loopback: bool,
    /// Room for the input, in bytes.
    pub input_bytes: u64,
    /// Most open descriptors of a process (`RLIMIT_NOFILE`).
    pub files: u32,
    /// Directories that the root file system must have to be mounted on, absolute.
    pub mount_points: Vec<String>,
    /// Host directories granted.
    pub binds: Vec<Bind>,
}

impl Prepare {
    /// The number of the listening socket that a program may be given.
    pub const LISTENER: i32 = 3;
}

/// What may become of a root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootAccess {
    /// Nothing.
    ReadOnly,
    /// What is written goes to [`Prepare::scratch`], and is gone with the container.
    Scratch,
}

/// One contiguous range of ids in a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// Who the sandbox's users are on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// A user namespace that the runner enters first, because it is not root.
    pub outer: Option<IdMap>,
    /// Writes the outer map's users where the kernel lets nobody but root do so.
    pub newuidmap: Option<PathBuf>,
    /// The same for groups.
    pub newgidmap: Option<PathBuf>,
    /// The sandbox's own user namespace, within the outer one if there is one.
    pub inner: IdMap,
    /// The tool's user and group, inside.
    pub tool: (u32, u32),
}

/// Where a sandbox is accounted and limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// Directories that the runner makes, locks, sets and removes: one on cgroup v2, one a hierarchy
    /// on v1.
    Directories(Vec<CgroupDirectory>),
    /// A scope that systemd makes and removes; `config` names it, and has its limits.
    Systemd {
        /// The address of the user's D-Bus; none for the system's.
        bus: Option<String>,
        /// The limits that its files must show: systemd leaves out what it was not delegated.
        limits: Vec<CgroupSetting>,
    },
}

/// A cgroup of one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirectory {
    /// Its path; the parent exists.
    pub path: PathBuf,
    /// What is written to its files, in this order.
    pub settings: Vec<CgroupSetting>,
}

/// A value for a file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSetting {
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// Whether a host without the file cannot do: it may have no swap accounting because it has no
    /// swap.
    pub required: bool,
}

/// The one tmpfs behind `/axocoatl`, `/tmp` and `/dev/shm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    /// Its size.
    pub bytes: u64,
    /// Its files and directories, five of which are ours.
    pub inodes: u64,
}

/// A host directory granted, or one of the tool's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Whether the tool may not change it.
    pub read_only: bool,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// What is executed: an absolute path in the container, which the engine has looked at.
    pub program: String,
    /// Arguments, with what the program is called first.
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
}

/// How the tool ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its status.
    pub status: Status,
    /// Whether the kernel killed a process of the sandbox for memory.
    pub out_of_memory: bool,
    /// Processor time, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Most memory at once, in bytes.
    pub peak_memory: Option<u64>,
    /// What is at `/axocoatl/output.json`.
    pub output: OutputFound,
}

/// A process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Signaled(i32),
}

/// What was found at `/axocoatl/output.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputFound {
    /// Nothing.
    Absent,
    /// Something that is not opened, and why.
    Refused(String),
    /// A regular file, which comes with the message.
    Opened,
}
