//! What went wrong, as the engine is told: whose fault it is, what, and what to do.

use std::io;

use axo_core::{BoxError, RunError, ToolSpec, chain};
use axo_runner::Fault;

use crate::host::Unavailable;
use crate::runner::RunnerError;
use crate::seccomp::SeccompError;
use crate::tool::{Blame, TargetError, ToolError};

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

impl From<&Unavailable> for Failed {
    fn from(unavailable: &Unavailable) -> Self {
        Self::Host {
            reason: unavailable.reason.clone(),
            fix: unavailable.fix.clone(),
        }
    }
}

/// The failure of a call of `tool`.
pub(crate) fn failed(tool: &ToolSpec, error: Failed) -> RunError {
    let of_host = |doing: String, fix: &str, source: BoxError| RunError::Host {
        doing,
        path: None,
        fix: fix.to_owned(),
        source,
    };
    match error {
        Failed::Host { reason, fix } => of_host("using tier oci".into(), &fix, reason.into()),
        Failed::Tool(error) => of_tool(tool, error),
        Failed::Mount { mount, source } => of_host(
            format!("opening the mount {mount} of tool {}", tool.name),
            "its source must be a directory, and no part of its path a symbolic link",
            source.into(),
        ),
        Failed::Target(source) => of_host(
            format!("making a mount of tool {}", tool.name),
            "grant it at another place",
            source.to_string().into(),
        ),
        Failed::Beyond { needs, fix } => RunError::NotGranted {
            tool: tool.name.clone(),
            needs,
            fix,
        },
        Failed::Runner(RunnerError::Failed { doing, why, fault }) => match fault {
            Fault::Host => of_host(doing, "see `axocoatl doctor`", why.into()),
            Fault::Program => RunError::bad_tool(
                tool,
                format!("its program cannot be executed ({why})"),
                "check its command, and that the program and its interpreter are in the root file system",
            ),
            Fault::Memory => RunError::bad_tool(
                tool,
                format!("its memory limit is too low: {why}"),
                "raise `memory` in [limits] of its tool.toml, or give --memory",
            ),
        },
        other => of_host(
            format!("running tool {} on tier oci", tool.name),
            "see `axocoatl doctor`",
            other.into(),
        ),
    }
}

/// What a tool is made of cannot be used.
fn of_tool(tool: &ToolSpec, error: ToolError) -> RunError {
    let source = std::error::Error::source(&error).map(|cause| chain(cause).into());
    match error.blame() {
        Blame::Tool => RunError::BadTool {
            tool: tool.name.clone(),
            problem: error.to_string(),
            fix: error.fix(),
            source,
        },
        Blame::Absence(what) => RunError::NotFound {
            tool: tool.name.clone(),
            what,
            fix: error.fix(),
        },
        Blame::Host => RunError::Host {
            doing: format!("opening what tool {} is made of", tool.name),
            path: None,
            fix: error.fix(),
            source: chain(&error).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::ImageUseError;
    use axo_core::{Requirement, Run, ToolName};
    use axo_image::ImageError;

    fn told(error: Failed) -> RunError {
        let name = ToolName::parse("t").unwrap();
        let tool = ToolSpec::new(name, Requirement::ContainerImage, Run::Function);
        failed(&tool, error)
    }

    #[test]
    fn an_error_blames_whose_fault_it_is() {
        let runner = |fault| {
            let (doing, why) = ("doing".to_owned(), "why".to_owned());
            told(Failed::Runner(RunnerError::Failed { doing, why, fault }))
        };
        assert!(matches!(runner(Fault::Host), RunError::Host { .. }));
        let program = runner(Fault::Program).to_string();
        assert!(program.contains("cannot be executed"), "{program}");
        let memory = runner(Fault::Memory).to_string();
        assert!(
            memory.contains("--memory") && !memory.contains("executed"),
            "{memory}"
        );
        let image = |error| told(Failed::Tool(ImageUseError::Image(error).into()));
        let full = ImageError::Busy {
            doing: "unpacking".into(),
            seconds: 60,
        };
        assert!(matches!(image(full), RunError::Host { .. }));
        let absent = ImageError::NoSuchImage {
            registry: "r".into(),
            image: "i".into(),
        };
        assert!(matches!(image(absent), RunError::NotFound { .. }));
        let hostile = ImageError::MountPoint {
            path: "/proc".into(),
            kind: "link",
        };
        assert!(matches!(image(hostile), RunError::BadTool { .. }));
    }
}
