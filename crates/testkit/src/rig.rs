//! Makes calls on a subject, sound or broken.

use std::sync::Arc;

use axo_core::{
    CallOptions, EffectiveLimits, Grants, Limits, Mount, MountRule, Outcome, OutputMode, Policy,
    Requirement, Tier, TierStatus, ToolCall, ToolName, ToolSpec, admit, place,
};
use serde_json::{Value, json};

use crate::cases::Sabotage;
use crate::subject::Subject;

/// What a case asks of a subject.
#[derive(Clone, Debug)]
pub struct Request {
    /// The probe's input.
    pub input: Value,
    /// The manifest's `output`.
    pub output: OutputMode,
    /// Limits asked for.
    pub limits: Limits,
    /// Grants asked for; the policy allows them.
    pub grants: Grants,
}

impl Request {
    /// The probe's operation `op` with `arguments`, an object.
    #[must_use]
    pub fn new(op: &str, arguments: Value) -> Self {
        let mut input = json!({ "op": op });
        if let (Value::Object(input), Value::Object(arguments)) = (&mut input, arguments) {
            input.extend(arguments);
        }
        Self {
            input,
            output: OutputMode::Auto,
            limits: Limits::default(),
            grants: Grants::default(),
        }
    }

    /// The same with limits.
    #[must_use]
    pub fn limits(mut self, set: impl FnOnce(&mut Limits)) -> Self {
        set(&mut self.limits);
        self
    }

    /// The same with grants.
    #[must_use]
    pub fn grants(mut self, set: impl FnOnce(&mut Grants)) -> Self {
        set(&mut self.grants);
        self
    }

    /// The same with a mount.
    #[must_use]
    pub fn mount(self, source: &std::path::Path, target: &str, mode: axo_core::MountMode) -> Self {
        let source = source.canonicalize().expect("the mount source exists");
        let mount = Mount::new(source, target, mode).expect("a mount");
        self.grants(|grants| grants.mounts.push(mount))
    }

    /// The same with a pinned output.
    #[must_use]
    pub fn output(mut self, output: OutputMode) -> Self {
        self.output = output;
        self
    }
}

/// Where a case makes its calls.
#[derive(Clone)]
pub struct Rig {
    subject: Subject,
    broken: Option<Sabotage>,
}

impl Rig {
    pub(crate) fn new(subject: &Subject, broken: Option<Sabotage>) -> Self {
        Self {
            subject: subject.clone(),
            broken,
        }
    }

    /// The subject's tier.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.subject.executor.tier()
    }

    /// What is left in the scratch of calls.
    #[must_use]
    pub fn leftovers(&self) -> Vec<std::path::PathBuf> {
        self.subject.leftovers()
    }

    /// Makes a call.
    ///
    /// # Errors
    /// The refusal or failure, as text: no case expects one.
    pub async fn call(&self, mut request: Request) -> Result<Outcome, String> {
        if let Some(Sabotage::Request(sabotage)) = self.broken {
            sabotage(&mut request);
        }
        let placed = self.place(request)?;
        self.subject.store(&placed).await?;
        let result = self.subject.executor.run(placed).await;
        let mut outcome = result.map_err(|e| format!("the executor failed: {}", chain(&e)))?;
        self.subject.keeps_what_is_stored()?;
        if let Some(Sabotage::Outcome(sabotage)) = self.broken {
            sabotage(&mut outcome);
        }
        Ok(outcome)
    }

    /// Admits and places, under a policy that allows what is asked.
    fn place(&self, request: Request) -> Result<axo_core::PlacedCall, String> {
        let name = ToolName::parse("probe").map_err(|e| e.to_string())?;
        let tier = self.tier();
        let requires = match tier {
            Tier::None => Requirement::NativeTrusted,
            Tier::Wasm => Requirement::Wasm,
            Tier::Oci | Tier::MicroVm => Requirement::ContainerImage,
        };
        let mut spec = ToolSpec::new(name.clone(), requires, self.subject.run.clone());
        spec.output = request.output;
        let mut policy = Policy::default();
        policy.native_functions.push(name.clone());
        policy.grants.env = request
            .grants
            .env
            .iter()
            .map(|env| env.name.clone())
            .collect();
        policy.grants.mounts = request
            .grants
            .mounts
            .iter()
            .map(|mount| MountRule {
                source: mount.source.clone(),
                mode: mount.mode,
            })
            .collect();
        let options = CallOptions {
            limits: request.limits,
            grants: request.grants,
            ..CallOptions::default()
        };
        let call = ToolCall::new(name, request.input).with_options(options);
        let admitted =
            admit(&policy, &Arc::new(spec), call, &|_| None).map_err(|e| e.to_string())?;
        let status = TierStatus {
            tier,
            readiness: self.subject.executor.readiness(),
        };
        place(admitted, &[status]).map_err(|e| e.to_string())
    }
}

/// The default limits, which cases refer to.
pub(crate) const DEFAULT: EffectiveLimits = EffectiveLimits::DEFAULT;

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
