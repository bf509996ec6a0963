//! The one ability every tier has.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use crate::{Outcome, PlacedCall, Readiness, Tier, ToolName, ToolSpec};

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any error, as the cause of another.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A tier: runs placed calls.
///
/// Contract of [`Executor::run`]:
/// - every limit of [`PlacedCall::limits`] that [`Executor::readiness`] lists is enforced; from its
///   start the tool ends within `limits.wall` and 250 ms, whatever it does. Waiting for a turn and
///   making the tool ready come before its start, and have bounds of their own;
/// - the tool gets [`PlacedCall::input`] and [`PlacedCall::environment`], the granted mounts, and
///   nothing else of the host;
/// - dropping the future ends the tool and leaves nothing behind;
/// - how the tool ends is an [`Outcome`], with what it wrote until then; `Err` is our own failure.
pub trait Executor: Send + Sync {
    /// Which tier this is.
    fn tier(&self) -> Tier;

    /// Whether it can be used on this host, and what it can do. Asked when an engine is built.
    fn readiness(&self) -> Readiness;

    /// Runs one call.
    fn run(&self, call: PlacedCall) -> BoxFuture<'_, Result<Outcome, RunError>>;

    /// Makes everything ready that `call` would otherwise wait for, and so checks its tool.
    fn prepare<'a>(&'a self, call: &'a PlacedCall) -> BoxFuture<'a, Result<(), RunError>>;
}

/// Why a call could not be run: our failure, or a tool that is no tool.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What the tool is made of cannot be run.
    #[error("tool {tool} cannot be run: {problem}; {fix}")]
    BadTool {
        /// Which tool.
        tool: ToolName,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
        /// What the parser or linker said.
        source: Option<BoxError>,
    },
    /// What the tool is made of is not here.
    #[error("tool {tool} is made of {what}, which is not here; {fix}")]
    NotFound {
        /// Which tool.
        tool: ToolName,
        /// What is missing.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The tool needs something that it is not granted, or that its tier never grants.
    #[error("tool {tool} needs what tools are not given: {needs}; {fix}")]
    NotGranted {
        /// Which tool.
        tool: ToolName,
        /// What it needs.
        needs: String,
        /// What to do.
        fix: String,
    },
    /// Something of the host failed.
    #[error("{doing}{}; {fix}", path.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default())]
    Host {
        /// What we were doing.
        doing: String,
        /// With which file, if one.
        path: Option<PathBuf>,
        /// What to do.
        fix: String,
        /// What the host said.
        source: BoxError,
    },
}

impl RunError {
    /// A tool that cannot be run as it is, for a reason that has no other error as its cause.
    #[must_use]
    pub fn bad_tool(tool: &ToolSpec, problem: String, fix: &str) -> Self {
        Self::BadTool {
            tool: tool.name.clone(),
            problem,
            fix: fix.to_owned(),
            source: None,
        }
    }
}
