//! Placement: which tier, and why.

use std::fmt;
use std::sync::Arc;

use crate::{
    AdmittedCall, CallId, Denied, DenyReason, Document, EffectiveLimits, Finished, Form, GrantKind,
    LimitKind, MinimumSource, Mount, Outcome, Readiness, Requirement, Tier, TierStatus, ToolOutput,
    ToolSpec,
};

/// A call that has a tier. Made by [`place()`] only; the only thing an executor runs.
#[derive(Debug)]
pub struct PlacedCall {
    call: AdmittedCall,
    tier: Tier,
    placement: Placement,
}

/// The explanation of a placement: what was required, what each tier could do, what was chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct Placement {
    /// What the tool needs.
    pub requirement: Requirement,
    /// What the tool is made of.
    pub form: Form,
    /// The weakest tier allowed.
    pub minimum: Tier,
    /// Who set it.
    pub minimum_source: MinimumSource,
    /// Every tier, weakest first.
    pub candidates: Vec<Candidate>,
    /// The tier chosen; `None` if every one is excluded.
    pub chosen: Option<Tier>,
}

/// One tier in a [`Placement`].
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// The tier.
    pub tier: Tier,
    /// Why it was not chosen; `None` for the chosen one.
    pub exclusion: Option<Exclusion>,
}

impl Candidate {
    /// Whether what was asked for leaves it out, whatever it can do.
    pub(crate) fn is_out_of_question(&self) -> bool {
        matches!(
            self.exclusion,
            Some(Exclusion::BelowMinimum | Exclusion::NotAsked)
        )
    }
}

/// Why a tier was not chosen.
#[derive(Clone, PartialEq, Debug)]
pub enum Exclusion {
    /// It is weaker than the minimum.
    BelowMinimum,
    /// The caller named another.
    NotAsked,
    /// A weaker tier serves.
    NotNeeded,
    /// The policy lets no stronger tier stand in.
    NoStandIn,
    /// It does not run what the tool is made of.
    CannotRun(Form),
    /// It cannot enforce a limit that was asked for.
    CannotEnforce(LimitKind),
    /// It cannot give a grant that was asked for.
    CannotGrant(GrantKind),
    /// It does not work on this host.
    Unavailable {
        /// Why not.
        reason: String,
        /// What would help.
        fix: String,
    },
}

/// Chooses the weakest tier that is at or above the call's minimum, is ready, runs what the tool
/// is made of, and can enforce every limit and give every grant that was asked for.
///
/// A pure function of its arguments. `tiers` holds one entry a tier.
///
/// # Errors
/// [`Denied`] with the whole [`Placement`] if there is no such tier.
pub fn place(call: AdmittedCall, tiers: &[TierStatus]) -> Result<PlacedCall, Denied> {
    let mut chosen = None;
    let candidates = tiers
        .iter()
        .map(|status| {
            let exclusion = match chosen {
                Some(_) => Some(Exclusion::NotNeeded),
                None => exclusion(&call, status),
            };
            if exclusion.is_none() {
                chosen = Some(status.tier);
            }
            Candidate {
                tier: status.tier,
                exclusion,
            }
        })
        .collect();
    let placement = Placement {
        requirement: call.spec.requires,
        form: call.spec.run.form(),
        minimum: call.minimum,
        minimum_source: call.minimum_source,
        candidates,
        chosen,
    };
    match chosen {
        Some(tier) => Ok(PlacedCall {
            call,
            tier,
            placement,
        }),
        None => Err(Denied {
            tool: call.spec.name.clone(),
            fix: placement.fix(),
            reason: DenyReason::NoTier(Box::new(placement)),
        }),
    }
}

/// Why `status.tier` cannot take the call, the most telling reason first.
fn exclusion(call: &AdmittedCall, status: &TierStatus) -> Option<Exclusion> {
    let form = call.spec.run.form();
    if status.tier < call.minimum {
        return Some(Exclusion::BelowMinimum);
    }
    if call.only.is_some_and(|only| only != status.tier) {
        return Some(Exclusion::NotAsked);
    }
    if !call.stand_in && status.tier > call.minimum.max(natural_tier(form)) {
        return Some(Exclusion::NoStandIn);
    }
    if !may_run(status.tier, form) {
        return Some(Exclusion::CannotRun(form));
    }
    let capabilities = match &status.readiness {
        Readiness::Ready(capabilities) => capabilities,
        Readiness::Unavailable { reason, fix } => {
            return Some(Exclusion::Unavailable {
                reason: reason.clone(),
                fix: fix.clone(),
            });
        }
    };
    if !capabilities.forms.contains(&form) {
        return Some(Exclusion::CannotRun(form));
    }
    if let Some(limit) = call
        .asked_limits()
        .find(|kind| !capabilities.limits.contains(kind))
    {
        return Some(Exclusion::CannotEnforce(limit));
    }
    call.granted_kinds()
        .find(|kind| !capabilities.grants.contains(kind))
        .map(Exclusion::CannotGrant)
}

/// The weakest tier made for what the tool is made of; anything stronger stands in for it.
const fn natural_tier(form: Form) -> Tier {
    match form {
        Form::Function | Form::Command => Tier::None,
        Form::Wasm => Tier::Wasm,
        Form::Bundle | Form::Image => Tier::Oci,
    }
}

/// Whether a tier is made for such a thing at all, whatever the state of this host.
const fn may_run(tier: Tier, form: Form) -> bool {
    match form {
        Form::Function | Form::Command => matches!(tier, Tier::None),
        Form::Wasm => matches!(tier, Tier::Wasm),
        Form::Bundle | Form::Image => matches!(tier, Tier::Oci | Tier::MicroVm),
    }
}

/// Where programs are looked for, unless a bundle or an image says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl PlacedCall {
    /// The call's identity.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.call.id
    }

    /// The tool.
    #[must_use]
    pub fn spec(&self) -> &Arc<ToolSpec> {
        &self.call.spec
    }

    /// Its input.
    #[must_use]
    pub fn input(&self) -> &Document {
        &self.call.input
    }

    /// The tier it was given to.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The limits to enforce.
    #[must_use]
    pub fn limits(&self) -> &EffectiveLimits {
        &self.call.limits
    }

    /// Why it was given to this tier.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The host directories to mount, with absolute sources.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.call.grants.mounts
    }

    /// The tool's whole environment, except what an image adds: the contract's variables, then
    /// the granted ones.
    pub fn environment(&self) -> impl Iterator<Item = (&str, String)> {
        let granted = self.call.grants.env.iter();
        [
            ("PATH", DEFAULT_PATH.to_owned()),
            ("HOME", "/tmp".to_owned()),
            ("AXOCOATL_TOOL", self.call.spec.name.to_string()),
            ("AXOCOATL_CALL_ID", self.call.id.to_string()),
        ]
        .into_iter()
        .chain(granted.map(|grant| (grant.name.as_str(), grant.value.clone().unwrap_or_default())))
    }

    /// The outcome of the call, from what its executor saw. The output is read here, the same way
    /// for every tier.
    #[must_use]
    pub fn conclude(self, finished: Finished) -> Outcome {
        let output = ToolOutput::interpret(
            self.call.spec.output,
            &finished.output_file,
            &finished.stdout,
        );
        Outcome {
            call_id: self.call.id,
            tool: self.call.spec.name.clone(),
            version: self.call.spec.version.clone(),
            tier: self.tier,
            termination: finished.termination,
            output,
            stdout: finished.stdout,
            stderr: finished.stderr,
            usage: finished.usage,
            placement: self.placement,
            digest: finished.digest,
        }
    }
}

impl Placement {
    /// What would help where no tier was chosen: the repair of the weakest tier that was not
    /// excluded for good.
    fn fix(&self) -> String {
        let open = self.candidates.iter().find_map(|candidate| match &candidate.exclusion {
            Some(Exclusion::Unavailable { fix, .. }) => Some(fix.clone()),
            Some(Exclusion::CannotEnforce(limit)) => Some(format!(
                "leave limit {limit} out, or run it on a tier that enforces it (see `axocoatl tiers`)"
            )),
            Some(Exclusion::CannotGrant(grant)) => Some(format!(
                "remove the {grant} grant, or run it on a tier that gives it (see `axocoatl tiers`)"
            )),
            _ => None,
        });
        let fix = open.unwrap_or_else(|| {
            format!(
                "{} runs on tier {} at the weakest; see `axocoatl tiers` for what this host can do",
                self.form,
                natural_tier(self.form)
            )
        });
        match self.weaker() {
            Some(weaker) => format!("{fix}; or {weaker}"),
            None => fix,
        }
    }

    /// How a tier that is weaker than the minimum, and runs such a thing, could be allowed.
    fn weaker(&self) -> Option<String> {
        let natural = natural_tier(self.form);
        if self.minimum <= natural {
            return None;
        }
        let how = match self.minimum_source {
            MinimumSource::Default => {
                format!(
                    "accept its weaker wall: `axocoatl run --min-tier {natural}`, or min_tier in the \
                     policy"
                )
            }
            MinimumSource::Requirement | MinimumSource::Tool => {
                format!("lower min_tier in the policy to {natural}, if its weaker wall will do")
            }
            MinimumSource::Manifest => {
                format!("lower min_tier in its manifest to {natural}, if its weaker wall will do")
            }
            MinimumSource::Caller => format!("ask for no more than {natural}"),
        };
        Some(how)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requires  {} ({})", self.requirement, self.form)?;
        writeln!(f, "minimum   {} ({})", self.minimum, self.minimum_source)?;
        for candidate in &self.candidates {
            writeln!(f, "candidate {candidate}")?;
        }
        match self.chosen {
            Some(tier) => write!(f, "decision  {tier}"),
            None => write!(f, "decision  refused"),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.tier)?;
        match &self.exclusion {
            None => f.write_str("chosen"),
            Some(exclusion) => exclusion.fmt(f),
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMinimum => f.write_str("weaker than the minimum"),
            Self::NotAsked => f.write_str("not the tier asked for"),
            Self::NotNeeded => f.write_str("not needed, a weaker tier serves"),
            Self::NoStandIn => {
                f.write_str("the policy lets no stronger tier stand in (stand_in = false)")
            }
            Self::CannotRun(form) => write!(f, "does not run {form}"),
            Self::CannotEnforce(limit) => write!(f, "cannot enforce limit {limit}"),
            Self::CannotGrant(grant) => write!(f, "cannot give a {grant} grant"),
            Self::Unavailable { reason, .. } => write!(f, "not available: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
