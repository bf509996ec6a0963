//! What a client asks for.

use serde::{Deserialize, Serialize};

use crate::files::{self, List, MakeDirectory, MakeLink, Move, Place, Read, Write};
use crate::message::{Message, path};
use crate::process::signal;
use crate::{
    Attach, Kind, PrepareSession, PrepareTool, ProcessId, ProtocolError, Renew, RunTool, Size,
    Start,
};

/// One operation: the whole of a connection. Each says with which replies it goes well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// `Started`, then, if it is followed, output and `Exited`.
    Start(Box<Start>),
    /// `Attached`, then output, with `Gap` where some is missing; then `Exited`, or `Done` of a
    /// process that still runs and is not followed.
    Attach(Attach),
    /// `Processes`, as many as it takes, then `Done`.
    Processes,
    /// `Done`: it was sent to the process group. A process that has ended is not signalled.
    Signal {
        /// Which one.
        process: ProcessId,
        /// The signal's number (1 to 31).
        signal: i32,
    },
    /// `Done`.
    Resize {
        /// Which one.
        process: ProcessId,
        /// The size of its terminal.
        size: Size,
    },
    /// `Done`: nothing more is known of a process that has ended.
    Forget {
        /// Which one.
        process: ProcessId,
    },
    /// `Stat`, then output, then `Done`.
    Read(Read),
    /// `Written`, after the last input.
    Write(Write),
    /// `Entries`, as many as it takes, then `Listed`.
    List(List),
    /// `Stat`.
    Stat {
        /// Of what.
        place: Place,
        /// Whether a link as the last part of the path is what is asked for.
        no_follow: bool,
    },
    /// `Done`.
    MakeDirectory(MakeDirectory),
    /// `Done`.
    MakeLink(MakeLink),
    /// `Done`. A link is followed.
    SetMode {
        /// Of what.
        place: Place,
        /// Which (`0o7777` at most).
        mode: u32,
    },
    /// `Done`.
    Move(Move),
    /// `Done`. A link is removed, not followed.
    Remove {
        /// What.
        place: Place,
        /// Whether a directory is removed with what is in it; otherwise it has to be empty.
        recursive: bool,
    },
    /// `Watching`, then `Events`, until the client closes; `Done` after
    /// [`Ended`](crate::files::EventKind::Ended).
    Watch {
        /// A file or directory.
        place: Place,
        /// Whether to watch the directories in it as well.
        recursive: bool,
    },
    /// `Metrics`.
    Metrics {
        /// A path of the file system whose room is told; empty is none.
        path: Vec<u8>,
    },
    /// `Done`; then the agent ends all processes, and itself.
    Shutdown {
        /// Time between `SIGTERM` and `SIGKILL`, in milliseconds.
        grace_millis: u64,
    },
    /// `Done`: it waits. A machine that has, or had, a tool refuses.
    PrepareTool(PrepareTool),
    /// `ToolStarted` after the last input, then output; then `ToolEnded`, the output file as output,
    /// and `Done`.
    RunTool(RunTool),
    /// `Done`. Refused where the agent is not the first process of a machine.
    Renew(Renew),
    /// `Done`: its agent runs. Refused as `Renew` and `PrepareTool` are.
    PrepareSession(PrepareSession),
}

impl Message for Request {
    const KIND: Kind = Kind::Control;

    fn check(&self) -> Result<(), ProtocolError> {
        match self {
            Self::Start(start) => start.check(),
            Self::Attach(_)
            | Self::Processes
            | Self::Resize { .. }
            | Self::Forget { .. }
            | Self::Shutdown { .. } => Ok(()),
            Self::Signal { signal: number, .. } => signal(*number),
            Self::Read(read) => read.place.check(),
            Self::Write(write) => {
                files::mode(write.mode.unwrap_or(0))?;
                write.place.check()
            }
            Self::List(list) => list.check(),
            Self::MakeDirectory(make) => {
                files::mode(make.mode)?;
                make.place.check()
            }
            Self::MakeLink(make) => make.check(),
            Self::SetMode { place, mode } => {
                files::mode(*mode)?;
                place.check()
            }
            Self::Move(r#move) => r#move.check(),
            Self::Stat { place, .. } | Self::Remove { place, .. } | Self::Watch { place, .. } => {
                place.check()
            }
            Self::Metrics { path: of } => path(of),
            Self::PrepareTool(tool) => tool.check(),
            Self::RunTool(tool) => tool.check(),
            Self::Renew(renew) => renew.check(),
            Self::PrepareSession(session) => session.check(),
        }
    }
}
