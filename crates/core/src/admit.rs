//! Admission: who may run what, with which grants and limits.

use std::path::{Component, Path};
use std::sync::Arc;

use crate::{
    CallId, Denied, DenyReason, Document, EffectiveLimits, EnvGrant, Form, GrantKind, Grants,
    LimitKind, Limits, MinimumSource, Mount, MountMode, Policy, Tier, ToolCall, ToolSpec,
};

/// Looks up a variable of the host's environment, for grants that name one without a value.
pub type HostEnvironment<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// A call that the policy allows, not yet given to a tier. Made by [`admit()`] only.
#[derive(Clone, Debug)]
pub struct AdmittedCall {
    pub(crate) id: CallId,
    pub(crate) spec: Arc<ToolSpec>,
    pub(crate) input: Document,
    /// What manifest and caller asked, which a tier must be able to enforce.
    pub(crate) asked: Limits,
    pub(crate) limits: EffectiveLimits,
    /// Grants with host values and absolute mount sources.
    pub(crate) grants: Grants,
    pub(crate) minimum: Tier,
    pub(crate) minimum_source: MinimumSource,
    pub(crate) only: Option<Tier>,
    pub(crate) stand_in: bool,
}

/// Checks a call of `spec` against the operator's policy.
///
/// # Errors
/// [`Denied`] with the rule that refuses it and what would help. Nothing has run and nothing of
/// the host was touched, except that granted variables were looked up in `host`.
pub fn admit(
    policy: &Policy,
    spec: &Arc<ToolSpec>,
    call: ToolCall,
    host: &HostEnvironment<'_>,
) -> Result<AdmittedCall, Denied> {
    let deny = |reason, fix: String| Denied {
        tool: spec.name.clone(),
        reason,
        fix,
    };

    let native = matches!(spec.run.form(), Form::Command | Form::Function);
    if native && !policy.trusts(&spec.name) {
        let fix = format!(
            "the operator can name its command in policy.toml under [native.{}]",
            spec.name
        );
        return Err(deny(DenyReason::NotTrusted, fix));
    }

    let asked = spec.limits.overlaid_by(call.options.limits);
    if let Some((kind, asked, ceiling)) = asked.above(&policy.ceilings) {
        let fix = format!("ask for less, or raise {kind} under [ceilings] in policy.toml");
        return Err(deny(
            DenyReason::AboveCeiling {
                limit: kind.as_str(),
                asked,
                ceiling,
            },
            fix,
        ));
    }

    let wanted = absolute_mounts(spec, spec.grants.clone()).extended_by(&call.options.grants);
    if let Some((kind, grant, fix)) = first_grant_beyond(policy, spec, &wanted) {
        return Err(deny(DenyReason::GrantNotAllowed { kind, grant }, fix));
    }

    let (minimum, minimum_source) = minimum_tier(policy, spec, call.options.min_tier);
    Ok(AdmittedCall {
        id: call.id,
        spec: Arc::clone(spec),
        input: call.input,
        asked,
        limits: EffectiveLimits::resolve(&asked, &policy.ceilings),
        grants: with_host_values(wanted, host),
        minimum,
        minimum_source,
        only: call.options.tier,
        stand_in: policy.stand_in,
    })
}

/// The strongest of what the operator, the manifest and the caller demand. The manifest and the
/// caller can only raise the operator's minimum.
fn minimum_tier(policy: &Policy, spec: &ToolSpec, caller: Option<Tier>) -> (Tier, MinimumSource) {
    let operator = policy.minimum_for(&spec.name, spec.requires);
    [
        (spec.min_tier, MinimumSource::Manifest),
        (caller, MinimumSource::Caller),
    ]
    .into_iter()
    .filter_map(|(tier, source)| Some((tier?, source)))
    .fold(
        operator,
        |highest, next| if next.0 > highest.0 { next } else { highest },
    )
}

/// Mount sources of a manifest are relative to the tool's directory.
fn absolute_mounts(spec: &ToolSpec, mut grants: Grants) -> Grants {
    if let Some(directory) = &spec.directory {
        for mount in &mut grants.mounts {
            mount.source = directory.join(&mount.source);
        }
    }
    grants
}

/// The first grant that the policy's rules do not cover, and what would help.
fn first_grant_beyond(
    policy: &Policy,
    spec: &ToolSpec,
    wanted: &Grants,
) -> Option<(GrantKind, String, String)> {
    let rules = &policy.grants;
    let fix = |key: &str, value: &str, flag: &str| {
        format!("the operator can add {value:?} to {key} under [grants] in policy.toml{flag}")
    };
    for host in &wanted.network {
        if !rules.network.iter().any(|pattern| pattern.covers(host)) {
            let host = host.to_string();
            let fix = fix("network", &host, ", or pass --net");
            return Some((GrantKind::Network, host, fix));
        }
    }
    for EnvGrant { name, .. } in &wanted.env {
        if !rules.env.contains(name) {
            return Some((
                GrantKind::Env,
                name.clone(),
                fix("env", name, ", or pass --env"),
            ));
        }
    }
    for name in &wanted.secrets {
        if !rules.secrets.contains(name) {
            return Some((GrantKind::Secrets, name.clone(), fix("secrets", name, "")));
        }
    }
    for mount in &wanted.mounts {
        if !mount_is_allowed(policy, spec, mount) {
            let source = mount.source.display().to_string();
            let fix = fix("mounts", &source, ", or pass --mount");
            return Some((GrantKind::Mounts, mount.to_string(), fix));
        }
    }
    None
}

/// A mount is allowed beneath a rule's directory, at most in the rule's mode. A tool may always
/// read what lies in its own directory. Paths are compared as text: whoever opens the source must
/// refuse symbolic links on the way, so that what was checked is what is opened.
fn mount_is_allowed(policy: &Policy, spec: &ToolSpec, mount: &Mount) -> bool {
    let lexical = mount.source.is_absolute()
        && mount
            .source
            .components()
            .all(|c| !matches!(c, Component::ParentDir));
    let beneath = |directory: &Path| mount.source.starts_with(directory);
    let own = mount.mode == MountMode::ReadOnly && spec.directory.as_deref().is_some_and(beneath);
    let by_rule = || {
        policy.grants.mounts.iter().any(|rule| {
            beneath(&rule.source)
                && (mount.mode == MountMode::ReadOnly || rule.mode == MountMode::ReadWrite)
        })
    };
    lexical && (own || by_rule())
}

/// Variables granted by name get the host's value; those the host does not have are left out.
fn with_host_values(mut grants: Grants, host: &HostEnvironment<'_>) -> Grants {
    for grant in &mut grants.env {
        if grant.value.is_none() {
            grant.value = host(&grant.name);
        }
    }
    grants.env.retain(|grant| grant.value.is_some());
    grants
}

impl AdmittedCall {
    /// The limits that manifest and caller asked for, which a tier must be able to enforce.
    pub(crate) fn asked_limits(&self) -> impl Iterator<Item = LimitKind> {
        LimitKind::ALL
            .into_iter()
            .filter(|kind| self.asked.has(*kind))
    }

    /// The kinds of grant that a tier must be able to give.
    pub(crate) fn granted_kinds(&self) -> impl Iterator<Item = GrantKind> {
        [
            (GrantKind::Network, self.grants.network.is_empty()),
            (GrantKind::Env, self.grants.env.is_empty()),
            (GrantKind::Secrets, self.grants.secrets.is_empty()),
            (GrantKind::Mounts, self.grants.mounts.is_empty()),
        ]
        .into_iter()
        .filter_map(|(kind, empty)| (!empty).then_some(kind))
    }
}

#[cfg(test)]
mod tests;
