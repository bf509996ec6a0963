//! Why a call has no outcome.

use std::path::PathBuf;

use axo_core::{Denied, Outcome, OutputProblem, RunError, Tier};

use crate::registry::FindError;
use crate::schema::SchemaError;

/// Why a call has no outcome, or none that may be used.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The tool was not found, or its manifest or schemas are bad.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The input is not what the tool's schema asks for.
    #[error("the input does not fit the tool's schema")]
    Input(#[source] SchemaError),
    /// Policy, or no tier that can do what was asked.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The tier failed, or the tool is no tool.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The tool succeeded, but its output breaks its contract. The outcome has what it wrote.
    #[error("the output of tool {} breaks its contract", outcome.tool)]
    Output {
        /// How.
        #[source]
        problem: BadOutput,
        /// The call, with its standard output and error.
        outcome: Box<Outcome>,
    },
    /// The call could not be recorded, so it was not made, or its outcome must not be relied on.
    #[error(
        "the call could not be recorded in the audit log {path}; \
         free space there or make it writable, then call again"
    )]
    Audit {
        /// The log.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What it came to, if it ran.
        outcome: Option<Box<Outcome>>,
    },
    /// A tier that was ready has no executor.
    #[error("tier {0} has no executor: this is a bug, please report it")]
    NoExecutor(Tier),
}

/// How an output breaks its contract.
#[derive(Debug, thiserror::Error)]
pub enum BadOutput {
    /// It is not where, or not what, the manifest promises.
    #[error(transparent)]
    Form(#[from] OutputProblem),
    /// It does not fit the schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl CallError {
    pub(crate) fn output(problem: BadOutput, outcome: Outcome) -> Self {
        Self::Output {
            problem,
            outcome: Box::new(outcome),
        }
    }

    /// What the tool did, if it ran at all.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Output { outcome, .. } => Some(outcome),
            Self::Audit { outcome, .. } => outcome.as_deref(),
            _ => None,
        }
    }
}
