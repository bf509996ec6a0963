//! How large the parts of a message may be. A message beyond them is malformed.

/// Longest version in a [`Hello`](crate::Hello), in bytes.
pub const MAX_VERSION_BYTES: usize = 64;

/// Longest path, in bytes (`PATH_MAX`, without the NUL).
pub const MAX_PATH_BYTES: usize = 4095;

/// Most arguments of a process. Their bytes are bounded by the frame, well below what Linux takes.
pub const MAX_ARGUMENTS: usize = 16 << 10;

/// Most variables of an environment.
pub const MAX_VARIABLES: usize = 4096;

/// Most supplementary groups of a user.
pub const MAX_GROUPS: usize = 256;

/// Longest label of a process, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Longest explanation of a failure, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Most processes, entries or events in one reply. More come in more replies.
pub const MAX_BATCH: usize = 512;

/// Most bytes of a process's arguments that a list shows.
pub const MAX_SHOWN_BYTES: usize = 256;

/// Most bytes of output that can be asked to be retained for one process, and that the agent
/// retains for all of them.
pub const MAX_RETAIN: u64 = 64 << 20;

/// What a client asks to be retained if it has no reason for more, in bytes.
pub const DEFAULT_RETAIN: u64 = 1 << 20;

/// Fewest bytes that the agent works with: less asked for is this.
pub const MIN_RETAIN: u64 = 64 << 10;

/// Longest message to the runner of a tool, in bytes: what it takes in one packet.
pub const MAX_RUNNER_BYTES: usize = 160 << 10;

/// Longest message to the runner about the program of a session, which is always the agent, in bytes.
pub const MAX_SESSION_LAUNCH_BYTES: usize = 4096;

/// Longest message of the runner about the end of a tool, in bytes.
pub const MAX_EXITED_BYTES: usize = 4096;

/// How deep a listing goes at most, in directories.
pub const MAX_LIST_DEPTH: u32 = 64;
