//! Runs *tools* — programs that an AI agent calls with a JSON input and that answer with a JSON
//! output — inside the right amount of isolation.
//!
//! ```no_run
//! use axocoatl_isolation::{Engine, ToolCall, ToolName};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # #[cfg(feature = "wasmtime-sandbox")]
//!     axocoatl_isolation::serve_compiler_if_asked(); // first: started once more, this program compiles
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let engine = Engine::builder().build()?;
//!         let input = serde_json::json!({"text": "to be"});
//!         let call = ToolCall::new(ToolName::parse("word-count")?, input);
//!         let outcome = engine.call(call).await?;
//!         println!("{:?} {:?}", outcome.termination, outcome.document());
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Features: `wasmtime-sandbox` (default), `oci-isolation` for containers and images, and
//! `podman-sessions` for sandboxes that stay (module `sessions`).
//!
//! [`Engine::call`] is the only way a tool runs. It reads top to bottom: find the tool, check its
//! input, admit the call, place it on a tier, run it, check its output, record it. `Err` means that
//! *we* failed or refused; a tool that exits 3, times out or floods its output is an [`Outcome`].
//!
//! The engine is used inside a Tokio runtime with time and I/O enabled.
#![warn(missing_docs)]

mod audit;
mod builder;
mod engine;
mod error;
#[cfg(any(feature = "oci-isolation", feature = "podman-sessions"))]
mod isolation_error;
mod native;
#[cfg(feature = "oci-isolation")]
pub mod oci_sandbox;
mod owner;
mod places;
mod plain_file;
#[cfg(feature = "podman-sessions")]
pub mod podman;
mod proof;
mod registry;
mod schema;
#[cfg(feature = "podman-sessions")]
pub mod sessions;
mod tool;

pub use audit::AuditLog;
pub use axo_core::{
    BoxError, BoxFuture, CallId, CallOptions, Candidate, Capabilities, CpuShare, DEFAULT_CEILINGS,
    Denied, DenyReason, Document, DocumentError, EffectiveLimits, EnvGrant, Exclusion, Executor,
    Finished, Form, GrantError, GrantKind, GrantRules, Grants, HostPattern, HostPort, LimitError,
    LimitKind, Limits, LocatedError, MAX_INPUT_BYTES, MinimumSource, Mount, MountMode, MountRule,
    NameError, NativeCommand, Outcome, OutputFile, OutputMode, OutputProblem, PlacedCall,
    Placement, Policy, Readiness, Requirement, Run, RunError, Schemas, SessionRules, Size, SpecId,
    Termination, Tier, TierStatus, ToolCall, ToolName, ToolOutput, ToolSpec, UnitError,
    UnknownWord, Usage, WasmSource, chain, is_active, one_line, parse_duration,
};
#[cfg(feature = "oci-isolation")]
pub use axo_tier_oci::{overridden as overridden_in_bundle, reap as reap_containers};
#[cfg(feature = "wasmtime-sandbox")]
pub use axo_tier_wasm::Compiler;
pub use builder::{BuildError, EngineBuilder, policy_of};
pub use engine::Engine;
pub use error::{BadOutput, CallError};
#[cfg(any(feature = "oci-isolation", feature = "podman-sessions"))]
pub use isolation_error::IsolationError;
pub use owner::{Owner, OwnerError, Reaped, reap};
pub use places::{Places, PlacesError};
pub use proof::{Proof, TierProof};
pub use registry::{FindError, Listing, Registry, ToolRoot};
pub use schema::SchemaError;
pub use tool::Tool;

#[cfg(feature = "wasmtime-sandbox")]
pub use builder::serve_compiler_if_asked;

/// What machines of tier `microvm` are made of: installing, showing and removing it.
#[cfg(feature = "firecracker-isolation")]
pub mod machines {
    pub use axo_tier_vm::setup::{
        FirecrackerSource, KernelSource, Release, SetupError, Vulnerability, install,
        vulnerabilities,
    };
    pub use axo_tier_vm::{
        Artifacts, ArtifactsError, COMMAND_LINE, Component, Garbage, MachineFiles, Versions, gc,
        kept, remove,
    };
}

/// The image store, for those who fill it and look at it. Tools that are images run from the store
/// in [`Places::images`].
#[cfg(any(feature = "oci-isolation", feature = "podman-sessions"))]
pub mod images {
    pub use axo_image::{
        Auth, Digest, Garbage, GarbageItem, GarbageKind, Image, ImageConfig, ImageError,
        InsecureHttp, Platform, Progress, PullOptions, Reference, Removed, Rootfs, Silent, Step,
        Store, StoreOptions,
    };
}
