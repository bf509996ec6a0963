//! `axocoatl run`: one call of one tool.

mod input;
mod show;
mod signals;

use axocoatl_isolation::{
    CallOptions, Engine, EnvGrant, Grants, Limits, MountRule, Policy, ToolCall, ToolName,
};

use self::signals::{Interrupted, Signals};
use super::{fail, fail_build, fail_find, fail_reference};
use crate::args;
use crate::exit::Exit;
use crate::mounts::{self, MountError};
use crate::printer::Printer;
use crate::reference::{ReferenceError, ToolReference};
use crate::setup;

pub(super) async fn run(arguments: args::Run, printer: &Printer) -> Exit {
    let reference = match reference(&arguments) {
        Ok(reference) => reference,
        Err(NamedWrongly::CommandLine) => return fail(printer, &NoImage, Exit::CommandLine),
        Err(NamedWrongly::Reference(error)) => return fail_reference(printer, &error),
    };
    let input = match input::read(&arguments) {
        Ok(input) => input,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    if let Some(grant) = arguments.grants.env.iter().find(|grant| is_unset(grant)) {
        return fail(
            printer,
            &UnsetVariable(grant.name.clone()),
            Exit::CommandLine,
        );
    }
    let options = match call_options(&arguments) {
        Ok(options) => options,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let (engine, name) = match engine(reference, &arguments, &options) {
        Ok(found) => found,
        Err(SetupError::Find(error)) => return fail_find(printer, &error),
        Err(SetupError::Build(error)) => return fail_build(printer, &error),
    };
    // Before the call is made: a call may run for long before it yields for the first time.
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let call = ToolCall::new(name, input).with_options(options);
    let result = tokio::select! {
        result = engine.call(call) => result,
        // Dropping the call ends the tool.
        exit = signals.wait() => return fail(printer, &Interrupted, exit),
    };
    match result {
        Ok(outcome) => show::outcome(&outcome, arguments.explain, printer),
        Err(error) => show::error(&error, arguments.explain, printer),
    }
}

/// What the command line names: an image with its command, or a tool.
fn reference(arguments: &args::Run) -> Result<ToolReference, NamedWrongly> {
    let tool = match (
        &arguments.image,
        &arguments.tool,
        arguments.command.as_slice(),
    ) {
        (Some(image), _, command) => {
            return Ok(ToolReference::image(image.clone(), command.to_vec()));
        }
        // What stands after `--` is the tool where nothing stands before it.
        (None, Some(tool), []) | (None, None, [tool]) => tool,
        _ => return Err(NamedWrongly::CommandLine),
    };
    ToolReference::parse(tool).map_err(NamedWrongly::Reference)
}

enum NamedWrongly {
    CommandLine,
    Reference(ReferenceError),
}

#[derive(Debug, thiserror::Error)]
#[error("a command after `--` is for an image: run --image REF -- CMD; a tool has its own")]
struct NoImage;

enum SetupError {
    Find(axocoatl_isolation::FindError),
    Build(axocoatl_isolation::BuildError),
}

/// An engine that knows the tool, under the operator's policy with what the command line adds.
fn engine(
    reference: ToolReference,
    arguments: &args::Run,
    options: &CallOptions,
) -> Result<(Engine, ToolName), SetupError> {
    let (builder, _) = setup::builder().map_err(SetupError::Build)?;
    let (builder, name) = reference.add_to(builder).map_err(SetupError::Find)?;
    let mut engine = builder.build().map_err(SetupError::Build)?;
    // A tool that is not found is told, and recorded, by the call.
    let requires = engine
        .registry()
        .find(&name)
        .ok()
        .map(|tool| tool.spec().requires);
    engine.amend_policy(|policy| {
        allow(policy, &options.grants);
        if let (Some(tier), Some(requires)) = (arguments.isolation.min_tier, requires) {
            policy.lower_default(&name, requires, tier);
        }
    });
    Ok((engine, name))
}

/// Whoever types the command is the operator: what is granted here is allowed here.
fn allow(policy: &mut Policy, grants: &Grants) {
    policy
        .grants
        .env
        .extend(grants.env.iter().map(|env| env.name.clone()));
    policy
        .grants
        .network
        .extend(grants.network.iter().cloned().map(Into::into));
    policy
        .grants
        .mounts
        .extend(grants.mounts.iter().map(|mount| MountRule {
            source: mount.source.clone(),
            mode: mount.mode,
        }));
}

#[derive(Debug, thiserror::Error)]
#[error("--env {0}: {0} is not set here; write {0}=VALUE")]
struct UnsetVariable(String);

/// Whether the user names a variable of this process that is not there.
fn is_unset(grant: &EnvGrant) -> bool {
    grant.value.is_none() && std::env::var_os(&grant.name).is_none()
}

fn call_options(arguments: &args::Run) -> Result<CallOptions, MountError> {
    let limits = &arguments.limits;
    Ok(CallOptions {
        limits: Limits {
            wall: limits.timeout,
            cpu: limits.cpus,
            memory: limits.memory,
            pids: limits.pids,
            fuel: limits.fuel,
            ..Limits::default()
        },
        grants: Grants {
            network: arguments.grants.net.clone(),
            env: arguments.grants.env.clone(),
            secrets: Vec::new(),
            mounts: mounts::resolve(&arguments.grants.mount)?,
        },
        tier: arguments.isolation.tier,
        min_tier: arguments.isolation.min_tier,
    })
}
