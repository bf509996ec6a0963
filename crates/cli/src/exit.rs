//! Exit codes of the command. Those of a signal are 128 and its number, as a shell has them.

use std::process::ExitCode;

use axocoatl_isolation::images::ImageError;
use axocoatl_isolation::{CallError, FindError, RunError, Termination};

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// All is well.
    Success,
    /// Something that was to be checked is not well.
    Unwell,
    /// The command line is wrong.
    CommandLine,
    /// The tool was stopped at its time limit.
    TimedOut,
    /// We failed, or the input is not for the tool.
    Failed,
    /// Refused by policy, or by a limit or grant that cannot be had.
    Refused,
    /// There is no such tool or image.
    NotFound,
    /// The tool trapped: 128 + SIGABRT, as Wasmtime's command has it.
    Trapped,
    /// The tool was stopped at its memory limit: 128 + SIGKILL, as for containers.
    OutOfMemory,
    /// The tool used up its fuel: 128 + SIGXCPU.
    FuelExhausted,
    /// The tool was stopped at its output limit: 128 + SIGXFSZ.
    OutputLimit,
    /// Interrupted from the terminal: 128 + SIGINT.
    Interrupted,
    /// Told to end: 128 + SIGTERM.
    Terminated,
    /// The tool's own status, or 128 and the signal that ended it.
    Tool(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unwell => 1,
            Self::CommandLine => 2,
            Self::TimedOut => 124,
            Self::Failed => 125,
            Self::Refused => 126,
            Self::NotFound => 127,
            Self::Interrupted => 130,
            Self::Trapped => 134,
            Self::OutOfMemory => 137,
            Self::Terminated => 143,
            Self::FuelExhausted => 152,
            Self::OutputLimit => 153,
            Self::Tool(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&Termination> for Exit {
    fn from(termination: &Termination) -> Self {
        match termination {
            // A status that does not fit must not be cut down to success.
            Termination::Exited(code) => Self::Tool(u8::try_from(*code).unwrap_or(u8::MAX)),
            Termination::Signaled(signal) => {
                Self::Tool(u8::try_from(128 + *signal).unwrap_or(u8::MAX))
            }
            Termination::TimedOut => Self::TimedOut,
            Termination::OutOfMemory => Self::OutOfMemory,
            Termination::FuelExhausted => Self::FuelExhausted,
            Termination::OutputLimit => Self::OutputLimit,
            Termination::Trapped(_) => Self::Trapped,
            Termination::Cancelled => Self::Interrupted,
        }
    }
}

impl From<&CallError> for Exit {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Find(error) => error.into(),
            CallError::Run(RunError::NotFound { .. }) => Self::NotFound,
            CallError::Denied(_) | CallError::Run(RunError::NotGranted { .. }) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl From<&FindError> for Exit {
    fn from(error: &FindError) -> Self {
        match error {
            FindError::NotFound { .. } => Self::NotFound,
            FindError::Unreadable { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Self::NotFound
            }
            _ => Self::Failed,
        }
    }
}

impl From<&ImageError> for Exit {
    fn from(error: &ImageError) -> Self {
        match error {
            ImageError::NotFound { .. } | ImageError::NoSuchImage { .. } => Self::NotFound,
            // What was typed names no image, or several.
            ImageError::BadReference { .. } | ImageError::Ambiguous { .. } => Self::CommandLine,
            _ => Self::Failed,
        }
    }
}
