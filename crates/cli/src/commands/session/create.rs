//! `session create`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axocoatl_isolation::sessions::{Devcontainer, SessionLimits, SessionSpec, admit};
use axocoatl_isolation::{EnvGrant, Policy};
use serde_json::json;

use super::{Failed, look, sessions_by_policy};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::progress::Bars;

pub(super) async fn run(arguments: args::Create, printer: &Printer) -> Result<Exit, Failed> {
    let (sessions, mut policy) = sessions_by_policy()?;
    allow(&mut policy, &arguments);
    let project = match &arguments.devcontainer {
        Some(path) => {
            Devcontainer::read(path).map_err(|error| Failed::CommandLine(Box::new(error)))?
        }
        None => Devcontainer::default(),
    };
    let not_used = project.not_used.clone();
    if !not_used.is_empty() {
        let all = not_used.join(", ");
        printer.note(&format!("of the devcontainer.json is not used: {all}"));
    }
    let with_file = arguments.devcontainer.is_some();
    let spec = spec(arguments, project, &policy)?;
    let admitted =
        admit(spec, &policy).map_err(axocoatl_isolation::sessions::SessionError::from)?;
    let session = sessions.create(&admitted, Arc::new(Bars::new())).await?;
    let record = session.record();
    let json = || {
        let mut made = look::json(&record);
        if with_file {
            made["not_used"] = json!(not_used);
        }
        made
    };
    printer.result(json, || record.called().to_owned());
    Ok(Exit::Success)
}

/// Whoever types the command is the operator: what is granted here is allowed here.
fn allow(policy: &mut Policy, arguments: &args::Create) {
    policy.sessions.bridge |= arguments.network == axocoatl_isolation::sessions::Network::Bridge;
    // What a file wants is not what somebody typed.
    policy.sessions.setup_commands |= match arguments.devcontainer {
        Some(_) => arguments.allow_setup,
        None => !arguments.setup.is_empty(),
    };
}

fn spec(
    arguments: args::Create,
    from_file: Devcontainer,
    policy: &Policy,
) -> Result<SessionSpec, Failed> {
    let image = arguments.image.or(from_file.image).ok_or_else(|| {
        Failed::command_line("the devcontainer.json names no image: add --image REF")
    })?;
    let (d, most) = (SessionLimits::default(), &policy.ceilings);
    let given = &arguments.limits;
    let mut environment: BTreeMap<String, String> = from_file.environment;
    environment.extend(variables(&arguments.env)?);
    let mut ports = arguments.port;
    ports.extend(from_file.ports);
    Ok(SessionSpec {
        name: arguments.name,
        image,
        tier: arguments.tier,
        directory: arguments.dir.map(absolute).transpose()?,
        profile: arguments.profile,
        network: arguments.network,
        ports,
        limits: SessionLimits {
            cpu: given.cpus.unwrap_or_else(|| lowered(d.cpu, most.cpu)),
            memory: given
                .memory
                .unwrap_or_else(|| lowered(d.memory, most.memory)),
            pids: given.pids.unwrap_or_else(|| lowered(d.pids, most.pids)),
            files: given.files.unwrap_or_else(|| lowered(d.files, most.files)),
            scratch: given
                .scratch
                .unwrap_or_else(|| lowered(d.scratch, most.disk)),
            idle: given.idle.unwrap_or(d.idle),
            total: given
                .total
                .unwrap_or_else(|| lowered(d.total, policy.sessions.total)),
        },
        environment,
        labels: arguments.label.into_iter().collect(),
        setup: arguments.setup.into_iter().chain(from_file.setup).collect(),
    })
}

/// As for tools: a default is lowered to the ceiling, what was typed is not.
fn lowered<T: PartialOrd>(default: T, ceiling: Option<T>) -> T {
    match ceiling {
        Some(ceiling) if ceiling < default => ceiling,
        _ => default,
    }
}

/// As somebody in this directory means it. A link in it is followed: they typed it.
fn absolute(path: PathBuf) -> Result<PathBuf, Failed> {
    path.canonicalize()
        .map_err(|error| Failed::command_line(format!("--dir {}: {error}", path.display())))
}

/// Variables as they were typed, with values from here where none was.
pub(super) fn variables(given: &[EnvGrant]) -> Result<Vec<(String, String)>, Failed> {
    let value = |grant: &EnvGrant| {
        let here = || std::env::var(&grant.name).ok();
        match grant.value.clone().or_else(here) {
            Some(value) => Ok((grant.name.clone(), value)),
            None => Err(Failed::command_line(format!(
                "--env {0}: {0} is not set here, or not UTF-8; write {0}=VALUE",
                grant.name
            ))),
        }
    };
    given.iter().map(value).collect()
}
