//! Proof that a tier works: a real call of a tool of ours.

use std::time::{Duration, Instant};

use axo_core::{
    Document, Readiness, Requirement, Run, Tier, ToolCall, ToolName, ToolSpec, WasmSource, admit,
    place,
};
use serde_json::json;

use crate::error::CallError;
use crate::{Engine, Policy};

/// What starting a tier came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A tool ran on it and answered rightly.
    Works {
        /// How long that took, with everything that a first call has to make.
        took: Duration,
    },
    /// It cannot be used here.
    Fails {
        /// Why not.
        reason: String,
        /// What would help.
        fix: String,
    },
}

/// A tier and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierProof {
    /// The tier.
    pub tier: Tier,
    /// Whether it works.
    pub proof: Proof,
}

/// A p1 command that copies standard input to standard output, in the text format.
const ECHO: &str = include_str!("proof/echo.wat");

impl Engine {
    /// Runs a tool of ours on every tier, weakest first. The calls are not recorded: no tool of a
    /// user's runs.
    pub async fn prove(&self) -> Vec<TierProof> {
        let mut proofs = Vec::new();
        for status in &self.tiers {
            let proof = match &status.readiness {
                Readiness::Unavailable { reason, fix } => Proof::Fails {
                    reason: reason.clone(),
                    fix: fix.clone(),
                },
                Readiness::Ready(_) => self.prove_tier(status.tier).await,
            };
            proofs.push(TierProof {
                tier: status.tier,
                proof,
            });
        }
        proofs
    }

    async fn prove_tier(&self, tier: Tier) -> Proof {
        let started = Instant::now();
        match self.probe(tier).await {
            Ok(true) => Proof::Works {
                took: started.elapsed(),
            },
            Ok(false) => Proof::Fails {
                reason: "the probe did not answer what it was given".into(),
                fix: "this is a bug, please report it".into(),
            },
            Err(error) => Proof::Fails {
                reason: crate::audit::chain(&error),
                fix: "remove the cause named in the reason, then run `axocoatl doctor` again"
                    .into(),
            },
        }
    }

    /// Whether a tool of ours on `tier` gives its input back.
    async fn probe(&self, tier: Tier) -> Result<bool, CallError> {
        let Some((spec, policy)) = probe_for(tier) else {
            return Ok(false);
        };
        let input =
            Document::from(json!({"probe": tier.as_str(), "id": uuid::Uuid::new_v4().to_string()}));
        let call = ToolCall::new(spec.name.clone(), input.clone());
        let placed = place(admit(&policy, &spec.into(), call, &|_| None)?, &self.tiers)?;
        let outcome = self.executor(tier)?.run(placed).await?;
        Ok(outcome.termination.is_success() && outcome.document() == Some(&input))
    }
}

/// The probe of a tier, and a policy that lets it run.
fn probe_for(tier: Tier) -> Option<(ToolSpec, Policy)> {
    let name = ToolName::parse("axocoatl-probe").ok()?;
    let mut policy = Policy::default();
    let spec = match tier {
        Tier::None => {
            let command = vec!["/bin/cat".to_owned()];
            policy.native.insert(
                name.clone(),
                crate::builder::native_command(command.clone()),
            );
            ToolSpec::new(name, Requirement::NativeTrusted, Run::Command(command))
        }
        Tier::Wasm => ToolSpec::new(
            name,
            Requirement::Wasm,
            Run::Wasm(WasmSource::Bytes(ECHO.as_bytes().into())),
        ),
        Tier::Oci | Tier::MicroVm => return None,
    };
    Some((spec, policy))
}
