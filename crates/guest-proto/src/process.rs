//! Processes: how they start, what is known about them, how they end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::{Message, at_most, no_nul, path};
use crate::{Kind, ProtocolError, bounds};

/// A process that the agent started. Never given twice by one agent; it is no pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId(pub u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process to be started, in a session and process group of its own.
///
/// It gets descriptors 0, 1 and 2, default signals and the file mode mask 022. Strings without a NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments, at least one. A program without a slash is looked for in the `PATH`
    /// of `environment`.
    pub arguments: Vec<Vec<u8>>,
    /// All its variables. Nothing is inherited. Where they are absent, `PATH` is
    /// `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`, and `HOME` `/root` for user 0
    /// and `/` for others.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its working directory. Empty is `/`.
    pub directory: Vec<u8>,
    /// Whom it runs as; none is whom the agent runs as.
    pub user: Option<User>,
    /// Its terminal, as all three of its streams. None is pipes.
    pub terminal: Option<Size>,
    /// What ends it.
    pub limits: Limits,
    /// How many of the last bytes of its output are kept, [`bounds::MAX_RETAIN`] at most.
    pub retain: u64,
    /// Whether it outlives this connection.
    pub lifetime: Lifetime,
    /// Whether it has input: [`Kind::Input`] of this connection or an attached one. Otherwise, and
    /// without a terminal, its standard input is `/dev/null`. A terminal always has input.
    pub input: bool,
    /// Whether this connection is told its output and its end. Nothing of it is lost: the process is
    /// slowed down to what the client takes. A detached process with `false` leaves the operation
    /// complete with [`Reply::Started`](crate::Reply::Started).
    pub follow: bool,
    /// What a list shows.
    pub label: Vec<u8>,
}

impl Start {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("arguments", self.arguments.len(), bounds::MAX_ARGUMENTS)?;
        at_most("variables", self.environment.len(), bounds::MAX_VARIABLES)?;
        at_most("label", self.label.len(), bounds::MAX_LABEL_BYTES)?;
        path(&self.directory)?;
        self.arguments.iter().try_for_each(|a| no_nul(a))?;
        match self.arguments.first() {
            Some(program) if !program.is_empty() => path(program)?,
            _ => return Err(ProtocolError::Invalid("a process without a program")),
        }
        for (name, value) in &self.environment {
            no_nul(name)?;
            no_nul(value)?;
            if name.is_empty() || name.contains(&b'=') {
                return Err(ProtocolError::Invalid("a variable without a proper name"));
            }
        }
        if self.retain > bounds::MAX_RETAIN {
            return Err(ProtocolError::Invalid(
                "more output to retain than there can be",
            ));
        }
        match &self.user {
            Some(user) => at_most("groups", user.groups.len(), bounds::MAX_GROUPS),
            None => Ok(()),
        }
    }
}

/// Whom a process runs as. An agent that may not do this refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in each.
    pub columns: u16,
}

/// What ends a process. None is no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time until its process group is killed, in milliseconds.
    pub wall_millis: Option<u64>,
    /// Processor time of each process, in seconds (`RLIMIT_CPU`).
    pub cpu_seconds: Option<u64>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub files: Option<u64>,
    /// Address space of each process, in bytes (`RLIMIT_AS`).
    pub memory: Option<u64>,
    /// Size of each file that it writes, in bytes (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
}

/// How long a process may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Its process group is killed when the connection that started it closes.
    #[default]
    Attached,
    /// Until it ends, or the agent does.
    Detached,
}

/// A process to be heard, and maybe steered.
///
/// The *offset* of a byte of output is the number of bytes of both streams before it since the
/// start. Frames are in order, so the offset after a frame is that of
/// [`Reply::Attached`](crate::Reply::Attached), plus all [`Kind::Output`] and [`Kind::Error`], plus
/// what was [lost](crate::Reply::Gap).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Which one.
    pub process: ProcessId,
    /// From where.
    pub from: Position,
    /// Whether to go on until it ends; otherwise what is retained is told, and that is all.
    pub follow: bool,
    /// Whether this connection sends [`Kind::Input`] and [`Steering`]. Closing it is no end of input.
    pub steer: bool,
    /// Whether the process is slowed down to what this client takes. Otherwise what it does not
    /// take in time is lost. Who takes nothing for five minutes is no longer waited for.
    pub lossless: bool,
}

/// A place in the output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// The oldest that is retained.
    Start,
    /// This offset, or the oldest after it that is retained.
    Offset(u64),
    /// What comes from now on.
    End,
}

/// From the client, while a process that it started or is attached to runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Steering {
    /// The size of its terminal.
    Resize(Size),
    /// A signal to its process group, by number (1 to 31).
    Signal(i32),
}

impl Message for Steering {
    const KIND: Kind = Kind::Control;

    fn check(&self) -> Result<(), ProtocolError> {
        match *self {
            Self::Resize(_) => Ok(()),
            Self::Signal(number) => signal(number),
        }
    }
}

/// Named signals; real-time ones are not sent.
pub(crate) fn signal(number: i32) -> Result<(), ProtocolError> {
    if !(1..=31).contains(&number) {
        return Err(ProtocolError::Invalid("a signal that is not 1 to 31"));
    }
    Ok(())
}

/// What is known about a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Which one.
    pub process: ProcessId,
    /// Its pid, as the sandbox sees it. It may be another's once this one has ended.
    pub pid: i32,
    /// What [`Start::label`] said.
    pub label: Vec<u8>,
    /// Program and arguments, cut to [`bounds::MAX_SHOWN_BYTES`] together.
    pub arguments: Vec<Vec<u8>>,
    /// When it started, in milliseconds since 1970 by the sandbox's clock.
    pub started_millis: u64,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it outlives its connection.
    pub lifetime: Lifetime,
    /// Whether it runs.
    pub state: State,
    /// Offset of the oldest output that is retained.
    pub oldest: u64,
    /// Offset after the newest.
    pub newest: u64,
}

impl ProcessInfo {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("label", self.label.len(), bounds::MAX_LABEL_BYTES)?;
        let shown = self.arguments.iter().map(|a| a.len() + 1).sum();
        at_most("arguments shown", shown, bounds::MAX_SHOWN_BYTES)
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It does.
    Running,
    /// It has ended.
    Exited(Exited),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its status.
    pub status: Status,
    /// What it and those of its children used that it waited for.
    pub usage: Usage,
    /// Whether it was killed at [`Limits::wall_millis`].
    pub timed_out: bool,
}

/// A process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, user and system, in microseconds.
    pub cpu_micros: u64,
    /// Most memory at once of one process, in bytes.
    pub peak_memory: u64,
    /// From its start to its end, in microseconds.
    pub wall_micros: u64,
}
