//! The container sandbox of the published crate `axocoatl-isolation` 0.1: its names, defaults and
//! errors, over the same tier that [`Engine`](crate::Engine) uses.
//!
//! New programs use the engine: it has policy, schemas, grants, limits and a record of every call.
//! Here a tool is a directory `{bundle_root}/{tool}/` with `config.json` and `rootfs/`; it reads
//! `/axocoatl/input.json` and writes `/axocoatl/output.json`. Its other limits are
//! [`EffectiveLimits::DEFAULT`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axo_core::{
    EffectiveLimits, Executor as _, Limits, Outcome, OutputMode, OutputProblem, Policy, Readiness,
    Requirement, Run, RunError, Termination, Tier, TierStatus, ToolCall, ToolName, ToolOutput,
    ToolSpec, admit, place,
};
use axo_tier_oci::{CgroupDriver, OciExecutor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::chain;
pub use crate::isolation_error::IsolationError;

/// Most containers at once; further calls wait.
const CONCURRENCY: u32 = 32;
/// Longest part of a failed tool's log that its error repeats, in bytes.
const MAX_LOG: usize = 2048;

/// How containers are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OciConfig {
    /// A directory that is made, and nothing else: what a container is made of is in a mount namespace
    /// of its supervisor's, and on no file system of the host.
    pub state_root: PathBuf,
    /// Directory with one bundle a tool.
    pub bundle_root: PathBuf,
    /// Whether systemd makes the cgroups (it must be running) or they are made directly.
    pub use_systemd: bool,
}

impl Default for OciConfig {
    fn default() -> Self {
        Self {
            state_root: "/run/axocoatl/oci".into(),
            bundle_root: "/var/axocoatl/bundles".into(),
            use_systemd: false,
        }
    }
}

/// Runs tools in containers.
pub struct OciSandbox {
    config: OciConfig,
    /// [`OciConfig::bundle_root`] as it really is: it is the operator's, and may lie behind a link.
    bundles: PathBuf,
    executor: OciExecutor,
}

impl OciSandbox {
    /// A sandbox with this configuration. Makes both directories.
    ///
    /// # Errors
    /// [`IsolationError::OciSetupFailed`] names the directory that cannot be made, or what the host
    /// lacks.
    pub fn new(config: OciConfig) -> Result<Self, IsolationError> {
        for directory in [&config.state_root, &config.bundle_root] {
            std::fs::create_dir_all(directory).map_err(|e| cannot_make(directory, &e))?;
        }
        let bundles = config
            .bundle_root
            .canonicalize()
            .map_err(|e| cannot_make(&config.bundle_root, &e))?;
        let executor = OciExecutor::new(axo_tier_oci::OciConfig {
            images: None,
            trusted_images: Vec::new(),
            concurrency: CONCURRENCY,
            warm: 0,
            cgroups: if config.use_systemd {
                CgroupDriver::Systemd
            } else {
                CgroupDriver::Direct
            },
            reap: true,
        });
        if let Readiness::Unavailable { reason, fix } = executor.readiness() {
            return Err(IsolationError::OciSetupFailed(format!("{reason}; {fix}")));
        }
        Ok(Self {
            config,
            bundles,
            executor,
        })
    }

    /// Runs a tool once and answers what it wrote to `/axocoatl/output.json`. When this returns, or
    /// its future is dropped, the container ends and nothing of it remains.
    ///
    /// # Errors
    /// [`IsolationError`] says what went wrong.
    pub async fn execute(
        &self,
        tool_name: &str,
        input: Value,
        timeout: Duration,
    ) -> Result<Value, IsolationError> {
        // Before the name reaches the file system.
        let name = ToolName::parse(tool_name).map_err(|e| not_found(e.to_string()))?;
        let bundle = self.bundles.join(name.as_str());
        if !bundle.is_dir() {
            return Err(not_found(format!("{name}: no bundle {}", bundle.display())));
        }
        let mut spec = ToolSpec::new(
            name.clone(),
            Requirement::ContainerImage,
            Run::Bundle(bundle),
        );
        spec.output = OutputMode::File;
        spec.limits.wall = Some(timeout);
        let policy = Policy {
            // The caller's time limit is not bounded; no other is asked for.
            ceilings: Limits::default(),
            ..Policy::default()
        };
        let refused = |denied: axo_core::Denied| {
            IsolationError::OciSetupFailed(format!("{denied}; {}", denied.fix))
        };
        let call = ToolCall::new(name, input);
        let admitted = admit(&policy, &Arc::new(spec), call, &|_| None).map_err(refused)?;
        let tier = TierStatus {
            tier: Tier::Oci,
            readiness: self.executor.readiness(),
        };
        let placed = place(admitted, &[tier]).map_err(refused)?;
        let outcome = self.executor.run(placed).await.map_err(failed)?;
        output_of(outcome, timeout)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &OciConfig {
        &self.config
    }

    /// The limits of every call beside its time limit.
    #[must_use]
    pub const fn limits() -> EffectiveLimits {
        EffectiveLimits::DEFAULT
    }
}

fn cannot_make(directory: &Path, error: &std::io::Error) -> IsolationError {
    IsolationError::OciSetupFailed(format!(
        "the directory {} cannot be made: {error}; make it, or configure another",
        directory.display()
    ))
}

fn not_found(what: String) -> IsolationError {
    IsolationError::ToolNotFound(what)
}

fn failed(error: RunError) -> IsolationError {
    IsolationError::OciContainerFailed(chain(&error))
}

fn output_of(outcome: Outcome, timeout: Duration) -> Result<Value, IsolationError> {
    match outcome.termination {
        Termination::TimedOut => return Err(IsolationError::Timeout(timeout)),
        Termination::Exited(0) => {}
        ref other => {
            let log = &outcome.stderr[outcome.stderr.len().saturating_sub(MAX_LOG)..];
            let log = String::from_utf8_lossy(log);
            let text = format!("the tool {other}; its log ends: {}", log.trim_end());
            return Err(IsolationError::OciContainerFailed(text));
        }
    }
    match outcome.output {
        ToolOutput::Document(document) => Ok(document.into()),
        ToolOutput::Invalid(problem) => Err(match problem {
            OutputProblem::FileNotJson(why) => IsolationError::Serialization(why),
            other => IsolationError::OutputReadFailed(other.to_string()),
        }),
    }
}
