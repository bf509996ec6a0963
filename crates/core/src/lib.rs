//! The nouns, rules and traits of Axocoatl Isolation.
//!
//! A *tool* is a named program with a manifest ([`ToolSpec`]). A *call* is one run of it. On its
//! way a call changes its type, and each type can only be made from the one before:
//!
//! ```text
//! ToolCall ──admit──▶ AdmittedCall ──place──▶ PlacedCall ──Executor::run──▶ Outcome
//!             │                        │
//!             └────── Denied ◀─────────┘
//! ```
//!
//! [`admit()`] decides who may run what with which grants and limits; [`place()`] decides on which
//! tier, and says why. Executors take only a [`PlacedCall`], so code that runs a tool without the
//! operator's policy does not compile.
//!
//! Nothing here does I/O: no file, no clock, no process, no async runtime. Everything here can be
//! tested with values alone.
#![warn(missing_docs)]

mod admit;
mod call;
mod capabilities;
mod chain;
mod denied;
mod document;
mod executor;
mod grants;
mod limits;
mod located;
mod manifest;
mod name;
mod one_line;
mod outcome;
mod output;
pub mod pattern;
mod place;
mod policy;
mod spec;
mod tier;
mod units;

pub use admit::{AdmittedCall, HostEnvironment, admit};
pub use call::{CallId, CallOptions, ToolCall};
pub use capabilities::{Capabilities, Form, GrantKind, Readiness, TierStatus};
pub use chain::chain;
pub use denied::{Denied, DenyReason};
pub use document::{Document, DocumentError, MAX_DEPTH, MAX_INPUT_BYTES};
pub use executor::{BoxError, BoxFuture, Executor, RunError};
pub use grants::{EnvGrant, GrantError, Grants, HostPort, Mount, MountMode};
pub use limits::{CpuShare, EffectiveLimits, LimitError, LimitKind, Limits};
pub use located::LocatedError;
pub use manifest::MANIFEST_FILE;
pub use name::{NameError, ToolName};
pub use one_line::{is_active, one_line};
pub use outcome::{Finished, Outcome, Termination, Usage};
pub use output::{OutputFile, OutputMode, OutputProblem, ToolOutput};
pub use place::{Candidate, DEFAULT_PATH, Exclusion, PlacedCall, Placement, place};
pub use policy::{
    DEFAULT_CEILINGS, GrantRules, HostPattern, MinimumSource, MountRule, NativeCommand, Policy,
    SessionRules,
};
pub use spec::{Run, Schemas, SpecId, ToolSpec, WasmSource};
pub use tier::{Requirement, Tier, UnknownWord};
pub use units::{Size, UnitError, parse_duration};
