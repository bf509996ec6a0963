//! What a call came to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{CallId, Document, OutputFile, Placement, Tier, ToolName, ToolOutput};

/// How a tool ended. All of these are the tool's doing or its limits'; our own failures are errors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Termination {
    /// It ended by itself with this status; 0 is success.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It was stopped at `limits.wall`.
    TimedOut,
    /// It was stopped at `limits.memory`.
    OutOfMemory,
    /// It was stopped at `limits.fuel`.
    FuelExhausted,
    /// It was stopped at `limits.output`.
    OutputLimit,
    /// A WebAssembly trap ended it: unreachable code, a stack overflow, memory out of bounds.
    Trapped(String),
    /// Its caller gave up. No tier reports it today: a call that is dropped has no outcome.
    Cancelled,
}

impl Termination {
    /// Whether the tool ended by itself with status 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// A stable word for records: `exited`, `timed-out`, …
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signaled(_) => "signaled",
            Self::TimedOut => "timed-out",
            Self::OutOfMemory => "out-of-memory",
            Self::FuelExhausted => "fuel-exhausted",
            Self::OutputLimit => "output-limit",
            Self::Trapped(_) => "trapped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signaled(signal) => write!(f, "was ended by signal {signal}"),
            Self::TimedOut => f.write_str("was stopped at its time limit (limits.wall, --timeout)"),
            Self::OutOfMemory => {
                f.write_str("was stopped at its memory limit (limits.memory, --memory)")
            }
            Self::FuelExhausted => f.write_str("used up its fuel (limits.fuel, --fuel)"),
            Self::OutputLimit => f.write_str("was stopped at its output limit (limits.output)"),
            Self::Trapped(message) => write!(f, "trapped: {message}"),
            Self::Cancelled => f.write_str("was cancelled"),
        }
    }
}

/// What a call used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Elapsed time of the run, without queueing and checks before it.
    pub wall: Duration,
    /// Processor time; `None` where the tier cannot tell.
    pub cpu: Option<Duration>,
    /// Most memory in use at once, in bytes; `None` where the tier cannot tell.
    pub peak_memory: Option<u64>,
    /// WebAssembly instructions; `None` unless a fuel limit was set.
    pub fuel: Option<u64>,
}

/// What an executor saw of a finished tool. [`crate::PlacedCall::conclude`] makes an [`Outcome`] of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finished {
    /// How it ended.
    pub termination: Termination,
    /// Standard output as far as it was read.
    pub stdout: Vec<u8>,
    /// Standard error as far as it was read.
    pub stderr: Vec<u8>,
    /// What was at `/axocoatl/output.json`.
    pub output_file: OutputFile,
    /// What it used.
    pub usage: Usage,
    /// SHA-256 of what ran, as `sha256:<hex>`; `None` for functions of the host.
    pub digest: Option<Arc<str>>,
}

/// What a call came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The call.
    pub call_id: CallId,
    /// The tool.
    pub tool: ToolName,
    /// Its version, if its manifest gives one.
    pub version: Option<Arc<str>>,
    /// The tier it ran on.
    pub tier: Tier,
    /// How it ended.
    pub termination: Termination,
    /// Its output, or why there is none.
    pub output: ToolOutput,
    /// Standard output, at most `limits.output` bytes.
    pub stdout: Vec<u8>,
    /// Standard error, at most `limits.output` bytes: the tool's log.
    pub stderr: Vec<u8>,
    /// What it used.
    pub usage: Usage,
    /// Why it ran on this tier.
    pub placement: Placement,
    /// SHA-256 of what ran.
    pub digest: Option<Arc<str>>,
}

impl Outcome {
    /// The status the tool exited with, if it did.
    #[must_use]
    pub const fn exit_code(&self) -> Option<i32> {
        match self.termination {
            Termination::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The tool's output, if it keeps the contract.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        self.output.document()
    }
}
