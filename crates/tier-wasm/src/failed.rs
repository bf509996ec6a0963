//! What went wrong, as the engine is told: which tool, what, and what to do.

use axo_core::{BoxError, RunError, ToolSpec};

use crate::cache::CacheError;
use crate::invoke::InvokeError;
use crate::program::ProgramError;

/// What the tool is made of cannot be run.
pub(crate) fn bad_tool(tool: &ToolSpec, problem: String, source: Option<BoxError>) -> RunError {
    RunError::BadTool {
        tool: tool.name.clone(),
        problem,
        fix: "rebuild it, then try `axocoatl tool check`".into(),
        source,
    }
}

/// Its compiled code is no program of ours.
pub(crate) fn unloadable(tool: &ToolSpec, error: wasmtime::Error) -> RunError {
    bad_tool(
        tool,
        "its compiled code does not load".into(),
        Some(error.into()),
    )
}

/// It could not be linked.
pub(crate) fn program_failed(tool: &ToolSpec, error: ProgramError) -> RunError {
    match error {
        ProgramError::Imports(error) => RunError::NotGranted {
            tool: tool.name.clone(),
            needs: format!("{error:#}"),
            fix: "tools get WASI p1, or WASI p2 without wasi:http, and nothing else; \
                  build it without that import"
                .into(),
        },
        ProgramError::NoEntry(problem) => bad_tool(tool, problem.into(), None),
        ProgramError::Load(error) => unloadable(tool, error),
    }
}

/// The cache could not be used.
pub(crate) fn cache_failed(error: CacheError) -> RunError {
    let fix = match &error {
        CacheError::Unsafe { .. } => {
            "make it yours alone (chown, chmod 700), or remove it and let it be made anew"
                .to_owned()
        }
        CacheError::Io { .. } => "check its permissions and the space left on its disk".to_owned(),
    };
    RunError::Host {
        doing: "using the cache of compiled code".into(),
        path: None,
        fix,
        source: error.into(),
    }
}

/// Its call could not be made.
pub(crate) fn invoke_failed(tool: &ToolSpec, error: InvokeError) -> RunError {
    match error {
        InvokeError::Mount { mount, source } => RunError::Host {
            doing: format!("opening the mount {mount} of tool {}", tool.name),
            path: None,
            fix: "its source must be a directory, and no part of its path a symbolic link".into(),
            source,
        },
        InvokeError::Start(source) => host("starting the program", source),
        InvokeError::Output(source) => host("reading the output file of the tool", source),
    }
}

/// A failure of the host.
pub(crate) fn host(doing: &str, source: impl Into<BoxError>) -> RunError {
    RunError::Host {
        doing: doing.to_owned(),
        path: None,
        fix: "see `axocoatl doctor`".into(),
        source: source.into(),
    }
}
