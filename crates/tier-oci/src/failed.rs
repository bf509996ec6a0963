//! What went wrong, as the engine is told: which tool, what, and what to do.

use std::io;

use axo_core::{BoxError, RunError, ToolSpec};

use crate::host::Lacking;
use crate::runner::RunnerError;
use crate::seccomp::SeccompError;
use crate::tool::{ImageUseError, TargetError, ToolError};

/// Why a call was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{reason}")]
    Host { reason: String, fix: String },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("opening the mount {mount}")]
    Mount { mount: String, source: io::Error },
    #[error("making a mount")]
    Target(#[from] TargetError),
    #[error("{needs}")]
    Beyond { needs: String, fix: String },
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error("the engine is being closed")]
    Closed,
}

impl From<&Lacking> for Failed {
    fn from(lacking: &Lacking) -> Self {
        Self::Host {
            reason: lacking.reason.clone(),
            fix: lacking.fix.clone(),
        }
    }
}

/// The failure of a call of `tool`.
pub(crate) fn failed(tool: &ToolSpec, error: Failed) -> RunError {
    match error {
        Failed::Host { reason, fix } => RunError::Host {
            doing: "using tier oci".into(),
            path: None,
            fix,
            source: reason.into(),
        },
        Failed::Tool(ToolError::Image(ImageUseError::NotHere(reference))) => RunError::NotFound {
            tool: tool.name.clone(),
            fix: format!(
                "`axocoatl image pull {reference}`, or `axocoatl image import` it, or let calls pull it \
                 with a pattern in trusted_images of the policy"
            ),
            what: format!("image {reference}"),
        },
        Failed::Tool(error) => bad_tool(tool, error),
        Failed::Mount { mount, source } => RunError::Host {
            doing: format!("opening the mount {mount} of tool {}", tool.name),
            path: None,
            fix: "its source must be a directory, and no part of its path a symbolic link".into(),
            source: source.into(),
        },
        Failed::Target(source) => RunError::Host {
            doing: format!("making a mount of tool {}", tool.name),
            path: None,
            fix: "grant it at another place".into(),
            source: source.to_string().into(),
        },
        Failed::Beyond { needs, fix } => RunError::NotGranted {
            tool: tool.name.clone(),
            needs,
            fix,
        },
        Failed::Runner(RunnerError::Failed {
            why, of_tool: true, ..
        }) => RunError::BadTool {
            tool: tool.name.clone(),
            problem: format!("its program cannot be executed ({why})"),
            fix: "check its command, and that the program and its interpreter are in the root file system".into(),
            source: None,
        },
        Failed::Runner(RunnerError::Failed { doing, why, .. }) => {
            let why: BoxError = why.into();
            RunError::Host {
                doing,
                path: None,
                fix: "see `axocoatl doctor`".into(),
                source: why,
            }
        }
        other => RunError::Host {
            doing: format!("running tool {} on tier oci", tool.name),
            path: None,
            fix: "see `axocoatl doctor`".into(),
            source: other.into(),
        },
    }
}

fn bad_tool(tool: &ToolSpec, error: ToolError) -> RunError {
    let fix = match &error {
        ToolError::Image(ImageUseError::NotHere(reference)) => {
            format!("`axocoatl image pull {reference}` or `axocoatl image import` it first")
        }
        ToolError::Image(_) => "see `axocoatl image ls`".to_owned(),
        ToolError::Program(_) => "check its command".to_owned(),
        _ => "mend the bundle, then try `axocoatl tool check`".to_owned(),
    };
    RunError::BadTool {
        tool: tool.name.clone(),
        problem: error.to_string(),
        fix,
        source: std::error::Error::source(&error).map(|cause| chain(cause).into()),
    }
}

/// An error and its causes, as one text: the error itself does not outlive the call.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
