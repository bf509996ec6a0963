//! What went wrong, as the engine is told: whose fault it is, what, and what to do.

use axo_core::{BoxError, RunError, ToolSpec};
use axo_guest_proto::Code;

use axo_tier_oci::supervise::Unavailable;

use crate::agent::AgentError;
use crate::disk::DiskError;
use crate::machine::{End, MachineError};
use crate::sizes::SizeError;

/// Why a call was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{}", .0.reason)]
    Host(Unavailable),
    #[error(transparent)]
    Told(RunError),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("{}", console_of(.console))]
    Agent { source: AgentError, console: String },
    #[error("the machine ended before its tool did: {}; its console ends with: {console}", .ended.how)]
    Died { ended: End, console: String },
    #[error("{doing}")]
    Files {
        doing: &'static str,
        source: BoxError,
    },
    #[error("the engine is being closed")]
    Closed,
}

impl From<AgentError> for Failed {
    fn from(source: AgentError) -> Self {
        Self::Agent {
            source,
            console: String::new(),
        }
    }
}

/// What a machine said last; hostile.
fn console_of(console: &str) -> String {
    match console {
        "" => "speaking with the machine".to_owned(),
        console => format!("speaking with the machine, whose console ends with: {console}"),
    }
}

impl Failed {
    /// Whether the tool is at fault, which no other machine would help.
    pub(crate) fn is_the_tools(&self) -> bool {
        matches!(
            self,
            Self::Agent { source: AgentError::Failed(failure), .. }
                if matches!(failure.code, Code::NotExecutable | Code::NoMemory)
        )
    }

    /// A failure that is our own.
    pub(crate) fn ours(source: impl Into<BoxError>) -> Self {
        Self::files("making a machine's request")(source)
    }

    /// A failure with files of ours.
    pub(crate) fn files<E: Into<BoxError>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Files {
            doing,
            source: source.into(),
        }
    }
}

/// The failure of a call of `tool`.
pub(crate) fn failed(tool: &ToolSpec, error: Failed) -> RunError {
    match error {
        Failed::Told(error) => error,
        Failed::Host(unavailable) => RunError::Host {
            doing: "using tier microvm".into(),
            path: None,
            fix: unavailable.fix,
            source: unavailable.reason.into(),
        },
        Failed::Size(needs) => RunError::NotGranted {
            tool: tool.name.clone(),
            needs: needs.to_string(),
            fix: "lower this limit, or run it on tier oci".into(),
        },
        Failed::Disk(error @ (DiskError::Tree { .. } | DiskError::TooLarge { .. })) => {
            let fix = "change what it names, or run the tool on tier oci";
            RunError::bad_tool(tool, error.to_string(), fix)
        }
        Failed::Disk(error @ DiskError::Changed) => {
            let fix = "call the tool again when nobody writes there any more";
            RunError::bad_tool(tool, error.to_string(), fix)
        }
        Failed::Agent {
            source: AgentError::Failed(failure),
            ..
        } if failure.code == Code::NotExecutable => RunError::bad_tool(
            tool,
            format!("its program cannot be executed ({failure})"),
            "check its command, and that the program and its interpreter are in the root file system",
        ),
        Failed::Agent {
            source: AgentError::Failed(failure),
            ..
        } if failure.code == Code::NoMemory => RunError::bad_tool(
            tool,
            format!("its memory limit is too low: {failure}"),
            "raise `memory` in [limits] of its tool.toml, or give --memory",
        ),
        other => RunError::Host {
            doing: format!("running tool {} on tier microvm", tool.name),
            path: None,
            fix: "see `axocoatl doctor`".into(),
            source: other.into(),
        },
    }
}
