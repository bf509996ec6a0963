//! The error of the published crate `axocoatl-isolation` 0.1.

use std::time::Duration;

/// Why a sandbox did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The host, or its set-up, cannot run containers; says what to do.
    #[error("containers cannot be run: {0}")]
    OciSetupFailed(String),
    /// There is no bundle of this name, or it is no name of a tool.
    #[error("there is no tool {0}")]
    ToolNotFound(String),
    /// The tool wrote no output, or something that is not read.
    #[error("the output cannot be read: {0}")]
    OutputReadFailed(String),
    /// The output is not JSON.
    #[error("the output is not JSON: {0}")]
    Serialization(String),
    /// The tool was ended at its time limit.
    #[error("the tool did not end within {0:?}")]
    Timeout(Duration),
    /// The container could not be run, or its tool failed.
    #[error("the container failed: {0}")]
    OciContainerFailed(String),
}
