//! What the agent answers.

use serde::{Deserialize, Serialize};

use crate::files::{Entry, Event, Stat};
use crate::message::{Message, at_most, path};
use crate::{Exited, Kind, ProcessId, ProcessInfo, ProtocolError, ToolEnded, bounds};

/// From the agent. Which of them answer which request stands at [`Request`](crate::Request).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A process runs.
    Started {
        /// Which one.
        process: ProcessId,
        /// Its pid, as the sandbox sees it.
        pid: i32,
    },
    /// Output of a process follows.
    Attached {
        /// What is known about it.
        info: Box<ProcessInfo>,
        /// Offset of the first byte that follows.
        offset: u64,
        /// How much of what was asked for is no longer retained, in bytes.
        lost: u64,
    },
    /// Output is missing here: the client did not take it in time.
    Gap {
        /// How much, in bytes.
        lost: u64,
    },
    /// It has ended; all that it wrote itself was told. Its children may write more.
    Exited(Exited),
    /// Some of the processes.
    Processes(Vec<ProcessInfo>),
    /// Some of what is in a directory.
    Entries(Vec<Entry>),
    /// That was all, or as much as was asked for.
    Listed {
        /// Whether there is more.
        more: bool,
    },
    /// What is known about a file.
    Stat(Stat),
    /// A file was written.
    Written {
        /// How many bytes of input.
        bytes: u64,
    },
    /// What changes from now on is told.
    Watching,
    /// What has changed.
    Events(Vec<Event>),
    /// The state of the sandbox.
    Metrics(Metrics),
    /// It was done.
    Done,
    /// It was not done, or not to its end. Always the last reply.
    Failed(Failure),
    /// The tool has its input, and runs.
    ToolStarted,
    /// It has ended; all that is told of its output was told.
    ToolEnded(ToolEnded),
}

impl Message for Reply {
    const KIND: Kind = Kind::Control;

    fn check(&self) -> Result<(), ProtocolError> {
        match self {
            Self::Attached { info, .. } => info.check(),
            Self::Processes(infos) => {
                at_most("processes", infos.len(), bounds::MAX_BATCH)?;
                infos.iter().try_for_each(ProcessInfo::check)
            }
            Self::Entries(entries) => {
                at_most("entries", entries.len(), bounds::MAX_BATCH)?;
                entries.iter().try_for_each(|entry| {
                    path(&entry.path)?;
                    entry.stat.check()
                })
            }
            Self::Stat(stat) => stat.check(),
            Self::Events(events) => {
                at_most("events", events.len(), bounds::MAX_BATCH)?;
                events.iter().try_for_each(|event| path(&event.path))
            }
            Self::Failed(failure) => {
                at_most("message", failure.message.len(), bounds::MAX_TEXT_BYTES)
            }
            Self::ToolEnded(ended) => ended.check(),
            Self::Started { .. }
            | Self::Gap { .. }
            | Self::Exited(_)
            | Self::Listed { .. }
            | Self::Written { .. }
            | Self::Watching
            | Self::Metrics(_)
            | Self::Done
            | Self::ToolStarted => Ok(()),
        }
    }
}

/// The state of the sandbox, as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Processes that the agent started and that run.
    pub running: u64,
    /// Processes that have ended and are known.
    pub ended: u64,
    /// All tasks of the sandbox, if its cgroup tells.
    pub tasks: Option<u64>,
    /// Memory in use, in bytes, if its cgroup tells.
    pub memory: Option<u64>,
    /// The most at once.
    pub peak_memory: Option<u64>,
    /// The most that there may be.
    pub memory_limit: Option<u64>,
    /// Processor time, in microseconds, if its cgroup tells.
    pub cpu_micros: Option<u64>,
    /// How long the agent runs, in milliseconds.
    pub uptime_millis: u64,
    /// Connections that are open, this one too.
    pub connections: u64,
    /// Output that is retained, in bytes.
    pub retained: u64,
    /// The file system that was asked for.
    pub disk: Option<Disk>,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// All of it, in bytes.
    pub total: u64,
    /// What is free to those who are not root.
    pub free: u64,
    /// Files that there can be.
    pub files: u64,
    /// And how many more.
    pub files_free: u64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of reason.
    pub code: Code,
    /// The kernel's reason, if it was the kernel's.
    pub errno: Option<i32>,
    /// For people. It may quote the sandbox: neutralise it before a terminal.
    pub message: String,
}

impl Failure {
    /// A failure, with its message cut to [`bounds::MAX_TEXT_BYTES`].
    #[must_use]
    pub fn new(code: Code, errno: Option<i32>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(bounds::MAX_TEXT_BYTES));
        Self {
            code,
            errno,
            message,
        }
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Another generation is spoken.
    Generation,
    /// The request is malformed, or asks for what cannot be.
    Invalid,
    /// The agent has as many of something as it keeps.
    Limit,
    /// The agent is ending.
    Ending,
    /// The program is not there.
    NoProgram,
    /// The program cannot be executed.
    NotExecutable,
    /// The working directory cannot be entered.
    NoDirectory,
    /// The agent may not run anything as that user.
    NoUser,
    /// No such process, or it was forgotten.
    NoProcess,
    /// The process has ended.
    Ended,
    /// The process still runs.
    Running,
    /// The process has no terminal, or no input.
    NoTerminal,
    /// No such file or directory.
    NotFound,
    /// It is there already.
    Exists,
    /// Not permitted.
    Denied,
    /// The path leads out of its root.
    Outside,
    /// It has to be a directory.
    NotDirectory,
    /// It has to be a regular file.
    NotFile,
    /// The directory is not empty.
    NotEmpty,
    /// The disk, or a limit on files, is full.
    NoSpace,
    /// The client took or sent nothing for too long.
    Stalled,
    /// The kernel failed otherwise: see the errno.
    Io,
    /// No tool is prepared.
    NoTool,
    /// The tool's memory limit leaves no room to make its container.
    NoMemory,
    /// The tool's container could not be made, or its runner failed.
    NoContainer,
}
