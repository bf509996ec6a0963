//! The way of a call.

use std::sync::Arc;

use axo_core::{
    Executor, Outcome, PlacedCall, Placement, Policy, TierStatus, ToolCall, ToolName, ToolOutput,
    admit, place,
};

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
        // A log that cannot be written is found here, before the tool has done anything.
        let record = self.audit.open(&call)?;
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

    /// Where the tool would run, and why, without running it.
    ///
    /// # Errors
    /// [`CallError`] if it is not found or would be refused.
    pub fn explain(&self, name: &ToolName) -> Result<Placement, CallError> {
        Ok(self.trial(name)?.placement().clone())
    }

    /// Makes everything ready for the tool's first call and so checks it: manifest, schemas,
    /// admission, placement, and what it is made of.
    ///
    /// # Errors
    /// [`CallError`] says what is wrong with it.
    pub async fn check(&self, name: &ToolName) -> Result<Placement, CallError> {
        let placed = self.trial(name)?;
        self.executor(placed.tier())?.prepare(&placed).await?;
        Ok(placed.placement().clone())
    }

    /// A placed call of the tool that is not meant to be run.
    fn trial(&self, name: &ToolName) -> Result<PlacedCall, CallError> {
        let tool = self.registry.find(name)?;
        let call = ToolCall::new(name.clone(), serde_json::Value::Null);
        Ok(place(
            admit(&self.policy, tool.spec(), call, &host_variable)?,
            &self.tiers,
        )?)
    }

    /// Changes the rules, as only the operator may: for front ends that act in the operator's name.
    pub fn amend_policy(&mut self, amend: impl FnOnce(&mut Policy)) {
        amend(&mut self.policy);
    }

    /// The executor of a tier that placement found ready.
    pub(crate) fn executor(&self, tier: Tier) -> Result<&Arc<dyn Executor>, CallError> {
        self.executors
            .iter()
            .find(|executor| executor.tier() == tier)
            .ok_or(CallError::NoExecutor(tier))
    }

    /// The tiers that this engine can use, for suites that hold each to its contract. Whoever runs
    /// tools uses [`Engine::call`]: what is run here is not recorded.
    #[doc(hidden)]
    #[must_use]
    pub fn executors(&self) -> &[Arc<dyn Executor>] {
        &self.executors
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
