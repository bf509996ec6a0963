//! Proof that a tier works: a real call of a tool of ours.

#[cfg(feature = "oci-isolation")]
mod oci;

use std::path::Path;
use std::time::{Duration, Instant};

use axo_core::{
    Document, Readiness, Requirement, Run, RunError, Tier, ToolCall, ToolName, ToolSpec,
    WasmSource, admit, place,
};
use serde_json::json;

use crate::error::CallError;
use crate::{Engine, Owner, Policy};

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
    /// user's runs. What a tool is made of is written to the system's directory for temporary
    /// files, and removed.
    pub async fn prove(&self) -> Vec<TierProof> {
        self.prove_in(&std::env::temp_dir()).await
    }

    /// The same, but what a tool is made of is written to `scratch`.
    pub async fn prove_in(&self, scratch: &Path) -> Vec<TierProof> {
        let mut proofs = Vec::new();
        for status in &self.tiers {
            let proof = match &status.readiness {
                Readiness::Unavailable { reason, fix } => Proof::Fails {
                    reason: reason.clone(),
                    fix: fix.clone(),
                },
                Readiness::Ready(_) => self.prove_tier(status.tier, scratch).await,
            };
            proofs.push(TierProof {
                tier: status.tier,
                proof,
            });
        }
        proofs
    }

    async fn prove_tier(&self, tier: Tier, scratch: &Path) -> Proof {
        let started = Instant::now();
        match self.probe(tier, scratch).await {
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
    async fn probe(&self, tier: Tier, scratch: &Path) -> Result<bool, CallError> {
        let Some(probe) = Probe::of(tier, scratch)? else {
            return Ok(false);
        };
        let input =
            Document::from(json!({"probe": tier.as_str(), "id": uuid::Uuid::new_v4().to_string()}));
        let call = ToolCall::new(probe.spec.name.clone(), input.clone());
        let admitted = admit(&probe.policy, &probe.spec.into(), call, &|_| None)?;
        let placed = place(admitted, &self.tiers)?;
        let outcome = self.executor(tier)?.run(placed).await?;
        Ok(outcome.termination.is_success() && outcome.document() == Some(&input))
    }
}

/// A tool of ours for one tier: it answers what it is given.
struct Probe {
    spec: ToolSpec,
    /// Lets it run.
    policy: Policy,
    /// What it is made of; removed when this is dropped.
    _files: Option<Owner>,
}

impl Probe {
    /// The probe of `tier`, if there is one, made in `scratch` where it takes files.
    #[cfg_attr(
        not(feature = "oci-isolation"),
        expect(unused_variables, reason = "only a container takes files")
    )]
    fn of(tier: Tier, scratch: &Path) -> Result<Option<Self>, RunError> {
        let Ok(name) = ToolName::parse("axocoatl-probe") else {
            return Ok(None);
        };
        let mut policy = Policy::default();
        let (requires, run, files) = match tier {
            Tier::None => {
                let command = vec!["/bin/cat".to_owned()];
                policy.native.insert(
                    name.clone(),
                    crate::builder::native_command(command.clone()),
                );
                (Requirement::NativeTrusted, Run::Command(command), None)
            }
            Tier::Wasm => {
                let program = WasmSource::Bytes(ECHO.as_bytes().into());
                (Requirement::Wasm, Run::Wasm(program), None)
            }
            #[cfg(feature = "oci-isolation")]
            Tier::Oci | Tier::MicroVm => {
                let (owner, bundle) = oci::make_bundle(scratch)?;
                let run = Run::Bundle(bundle);
                (Requirement::ContainerImage, run, Some(owner))
            }
            #[cfg(not(feature = "oci-isolation"))]
            Tier::Oci | Tier::MicroVm => return Ok(None),
        };
        Ok(Some(Self {
            spec: ToolSpec::new(name, requires, run),
            policy,
            _files: files,
        }))
    }
}
