//! A tool in a machine of its own: its container prepared once, run once, and how it ended.
//!
//! The agent starts the runner of containers (`axo-runner`) in the machine and is its engine. What
//! the two say to each other is JSON of the runner's protocol, which here is bytes: this crate knows
//! nothing of containers.
//!
//! ```text
//! (nothing) ──PrepareTool──▶ prepared ──RunTool──▶ runs ──▶ ended
//! ```
//!
//! A machine has one tool, ever. A prepared one needs no connection, and lives on in a snapshot of
//! the machine that is restored, where every connection has ended; one that runs ends with its
//! connection.
//!
//! The kernel of a restored machine ends its connections when it comes to it, and may take a very
//! first one of the new host along. So [`Renew`] comes first, and a host whose connection ends
//! without an answer to it asks again: renewing twice is renewing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::at_most;
use crate::{ProtocolError, bounds};

/// A container to be made, which waits for [`RunTool`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareTool {
    /// JSON of the runner's `Prepare`, whose root is the machine's image.
    pub prepare: Vec<u8>,
    /// Whether its one bind is the machine's second disk, which has the tool's own files. Otherwise
    /// it has none.
    pub files: bool,
    /// The path in the image of a program to be read before it is needed, for a machine that is stored
    /// with it in memory; none if it is empty. What cannot be read is not.
    pub ahead: Vec<u8>,
}

impl PrepareTool {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("prepare", self.prepare.len(), bounds::MAX_RUNNER_BYTES)?;
        at_most("ahead", self.ahead.len(), bounds::MAX_PATH_BYTES)
    }
}

/// The prepared tool, to be run on the [`Input`](crate::Kind::Input) that follows, to an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTool {
    /// JSON of the runner's `Launch`.
    pub launch: Vec<u8>,
    /// Most bytes of each of its streams, and of its output file. A stream that has more ends it.
    pub output_limit: u64,
    /// Time until it is killed, in milliseconds.
    pub wall_millis: u64,
}

impl RunTool {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("launch", self.launch.len(), bounds::MAX_RUNNER_BYTES)
    }
}

/// A session's container, to be made and started in a machine: a place for one, as for a tool. Its
/// program is this agent again, which serves on vsock at [`Self::PORT`]; when it ends, the machine does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareSession {
    /// JSON of the runner's `Prepare`, whose root is the machine's image, whose one bind is the directory
    /// of the agent, called `agent`, and which takes a listening socket.
    pub prepare: Vec<u8>,
    /// JSON of the runner's `Launch`.
    pub launch: Vec<u8>,
}

impl PrepareSession {
    /// Where the agent of a session is reached.
    pub const PORT: u32 = 5001;
    /// What the machine's agent says on its console last if the session's agent ended as it should.
    pub const ENDED: &str = "the session has ended";

    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("prepare", self.prepare.len(), bounds::MAX_RUNNER_BYTES)?;
        at_most(
            "launch",
            self.launch.len(),
            bounds::MAX_SESSION_LAUNCH_BYTES,
        )
    }
}

/// How a tool ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolEnded {
    /// JSON of the runner's `Exited`.
    pub exited: Vec<u8>,
    /// What the agent ended it for, if it did.
    pub stopped: Option<Stopped>,
    /// The length of its output file, if there is one, in bytes. So many follow as
    /// [`Output`](crate::Kind::Output); none if it is more than [`RunTool::output_limit`].
    pub output: Option<u64>,
}

impl ToolEnded {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most("exited", self.exited.len(), bounds::MAX_EXITED_BYTES)
    }
}

/// What a tool was ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stopped {
    /// [`RunTool::wall_millis`] were over.
    TimedOut,
    /// One of its streams had more than [`RunTool::output_limit`]. That much of it was told.
    OutputLimit,
}

/// What a machine that was restored from a snapshot has to be told: every other one that was
/// restored from it believes it to be the same time, and would draw the same random numbers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The time, in nanoseconds since 1970.
    pub now_nanos: u64,
    /// Random bytes: [`Self::SEED_BYTES`] exactly, for this machine alone.
    pub seed: Vec<u8>,
}

impl Renew {
    /// How many random bytes: twice what the kernel's generator holds.
    pub const SEED_BYTES: usize = 64;

    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        if self.seed.len() != Self::SEED_BYTES {
            return Err(ProtocolError::Invalid("a seed that is not of 64 bytes"));
        }
        Ok(())
    }
}

/// The seed is nobody's to read.
impl fmt::Debug for Renew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renew")
            .field("now_nanos", &self.now_nanos)
            .finish_non_exhaustive()
    }
}
