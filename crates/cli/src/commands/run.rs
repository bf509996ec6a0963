//! `axocoatl run`: one call of one tool.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use axocoatl_isolation::{
    CallError, CallOptions, Document, DocumentError, Engine, EnvGrant, Grants, Limits,
    MAX_INPUT_BYTES, MountRule, Outcome, Policy, ToolCall, ToolName, ToolOutput,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{fail, fail_build, fail_find, fail_reference};
use crate::args;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::setup::{self, ToolReference};

pub(super) async fn run(arguments: args::Run, printer: &Printer) -> Exit {
    let input = match read_input(&arguments) {
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
    let reference = match ToolReference::parse(&arguments.tool) {
        Ok(reference) => reference,
        Err(error) => return fail_reference(printer, &error),
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
        Ok(outcome) => show_outcome(&outcome, arguments.explain, printer),
        Err(error) => show_error(&error, arguments.explain, printer),
    }
}

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
enum InputError {
    #[error(
        "there is no input: pass --input JSON or --input-file FILE, or pipe it in; `--input null` for a tool that takes none"
    )]
    None,
    #[error("reading the input from {from}")]
    Unreadable {
        from: String,
        source: std::io::Error,
    },
    #[error("the input from {from} cannot be used")]
    Bad { from: String, source: DocumentError },
}

fn read_input(arguments: &args::Run) -> Result<Document, InputError> {
    if let Some(text) = &arguments.input {
        return parse_input("--input", text.as_bytes());
    }
    let (from, bytes) = match &arguments.input_file {
        Some(path) => {
            let from = path.display().to_string();
            (from, std::fs::File::open(path).and_then(read_capped))
        }
        None if std::io::stdin().is_terminal() => return Err(InputError::None),
        None => (
            "standard input".to_owned(),
            read_capped(std::io::stdin().lock()),
        ),
    };
    let bytes = bytes.map_err(|source| InputError::Unreadable {
        from: from.clone(),
        source,
    })?;
    if bytes.is_empty() {
        return Err(InputError::None);
    }
    parse_input(&from, &bytes)
}

fn parse_input(from: &str, bytes: &[u8]) -> Result<Document, InputError> {
    Document::parse(bytes, MAX_INPUT_BYTES).map_err(|source| InputError::Bad {
        from: from.to_owned(),
        source,
    })
}

fn read_capped(stream: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that there being more is seen.
    stream
        .take(MAX_INPUT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Debug, thiserror::Error)]
#[error("--env {0}: {0} is not set here; write {0}=VALUE")]
struct UnsetVariable(String);

/// Whether the user names a variable of this process that is not there.
fn is_unset(grant: &EnvGrant) -> bool {
    grant.value.is_none() && std::env::var_os(&grant.name).is_none()
}

#[derive(Debug, thiserror::Error)]
#[error("the mount source {path} cannot be used: it must be a directory that exists")]
struct MountError {
    path: PathBuf,
    source: std::io::Error,
}

fn call_options(arguments: &args::Run) -> Result<CallOptions, MountError> {
    let limits = &arguments.limits;
    let mut mounts = arguments.grants.mount.clone();
    for mount in &mut mounts {
        // Links in what the operator typed are followed now; none is followed afterwards.
        mount.source = mount.source.canonicalize().map_err(|source| MountError {
            path: mount.source.clone(),
            source,
        })?;
    }
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
            mounts,
        },
        tier: arguments.isolation.tier,
        min_tier: arguments.isolation.min_tier,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("interrupted: the tool was stopped")]
struct Interrupted;

/// The signals that ask us to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on they end the call and not the process, so that it is recorded and cleaned up.
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// The output of a tool that wrote nothing.
const EMPTY: &str = "\"\"";

fn show_outcome(outcome: &Outcome, explain: bool, printer: &Printer) -> Exit {
    if explain {
        printer.note(&outcome.placement.to_string());
    }
    let exit = Exit::from(&outcome.termination);
    if printer.is_json() {
        printer.line(&convert::outcome_text(outcome));
        return exit;
    }
    printer.log(&outcome.stderr);
    if !outcome.termination.is_success() {
        printer.note(&format!("tool {} {}", outcome.tool, outcome.termination));
    }
    match &outcome.output {
        // A tool that was stopped before it wrote anything has no answer, not an empty one.
        ToolOutput::Document(document)
            if **document.text() == *EMPTY && !outcome.termination.is_success() => {}
        ToolOutput::Document(document) => printer.line(document.text()),
        ToolOutput::Invalid(problem) if outcome.exit_code().is_some() => {
            printer.note(&format!("no output: {problem}"));
        }
        ToolOutput::Invalid(_) => {}
    }
    exit
}

fn show_error(error: &CallError, explain: bool, printer: &Printer) -> Exit {
    if let CallError::Denied(denied) = error
        && let Some(placement) = denied.placement()
        && explain
    {
        printer.note(&placement.to_string());
    }
    if let Some(outcome) = error.outcome()
        && !printer.is_json()
    {
        printer.log(&outcome.stderr);
        printer.note("what the tool wrote is shown with --json");
    }
    printer.error(error, || convert::call_error(error));
    error.into()
}
