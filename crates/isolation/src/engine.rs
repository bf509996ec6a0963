//! The way of a call.

use std::sync::Arc;

use axo_core::{Executor, Outcome, Policy, TierStatus, ToolCall, ToolOutput, admit, place};

use crate::audit::AuditLog;
use crate::error::CallError;
use crate::registry::Registry;
use crate::{EngineBuilder, Tier};

/// Runs tools: one for a program, shared by all its calls.
pub struct Engine {
    pub(crate) registry: Registry,
    pub(crate) policy: Policy,
    pub(crate) executors: Vec<Arc<dyn Executor>>,
    /// Every tier, weakest first, with what it can do on this host.
    pub(crate) tiers: Vec<TierStatus>,
    pub(crate) audit: AuditLog,
}

impl Engine {
    /// An engine with the operator's places and policy, to be changed before it is built.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Runs one tool once.
    ///
    /// Dropping the future ends the tool; the call is then recorded as cancelled.
    ///
    /// # Errors
    /// [`CallError`] if the call was refused or we failed; how the tool ended is in the [`Outcome`].
    pub async fn call(&self, call: ToolCall) -> Result<Outcome, CallError> {
        // Opened first, so that a call which is dropped half way is recorded too.
        let record = self.audit.open(&call);
        let result = self.carry_out(call).await;
        // Closed before the caller learns of the outcome: nothing happens unrecorded.
        record.close(result)
    }

    async fn carry_out(&self, call: ToolCall) -> Result<Outcome, CallError> {
        let tool = self.registry.find(&call.tool)?;
        tool.check_input(&call.input).await?;
        let admitted = admit(&self.policy, tool.spec(), call, &host_variable)?;
        let placed = place(admitted, &self.tiers)?;
        let outcome = self.executor(placed.tier())?.run(placed).await?;
        // A tool that failed is not held to what its successful output looks like.
        if outcome.termination.is_success() {
            match &outcome.output {
                ToolOutput::Invalid(problem) => {
                    return Err(CallError::output(problem.clone().into(), outcome));
                }
                ToolOutput::Document(output) => {
                    if let Err(problem) = tool.check_output(output).await {
                        return Err(CallError::output(problem.into(), outcome));
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// The executor of a tier that placement found ready.
    pub(crate) fn executor(&self, tier: Tier) -> Result<&Arc<dyn Executor>, CallError> {
        self.executors
            .iter()
            .find(|executor| executor.tier() == tier)
            .ok_or(CallError::NoExecutor(tier))
    }

    /// Where tools are looked up.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The rules in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every tier, weakest first, with what it can do on this host. [`Engine::prove`] starts one.
    #[must_use]
    pub fn tiers(&self) -> &[TierStatus] {
        &self.tiers
    }
}

/// Variables that are granted by name have the value they have in this process.
fn host_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
