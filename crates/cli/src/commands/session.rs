//! `axocoatl session`: sandboxes that stay.

mod copy;
mod create;
mod end;
mod exec;
mod look;
mod processes;
mod shell;
mod streams;
mod sync;

use axocoatl_isolation::sessions::{
    AgentError, Code, CopyError, Session, SessionError, Sessions, SyncError, SyncOptions, open,
};
use axocoatl_isolation::{BuildError, Places, Policy, policy_of};

use super::{fail, fail_build};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(command: args::Session, printer: &Printer) -> Exit {
    let result = match command {
        args::Session::Create(arguments) => create::run(*arguments, printer).await,
        args::Session::Ls => look::list(printer).await,
        args::Session::Show { session } => look::show(&session, printer).await,
        args::Session::Exec(arguments) => exec::run(arguments, printer).await,
        args::Session::Shell(arguments) => shell::run(arguments, printer).await,
        args::Session::Ps { session } => processes::list(&session, printer).await,
        args::Session::Logs(arguments) => processes::logs(arguments, printer).await,
        args::Session::Kill {
            session,
            process,
            signal,
        } => processes::kill(&session, process, signal, printer).await,
        args::Session::Cp { from, to } => copy::run(&from, &to, printer).await,
        args::Session::Sync {
            session,
            delete,
            force,
            dry_run,
        } => {
            let options = SyncOptions {
                delete,
                force,
                dry_run,
            };
            sync::run(&session, options, printer).await
        }
        args::Session::Stop {
            sessions,
            discard,
            grace,
        } => end::stop(&sessions, discard, grace, printer).await,
        args::Session::Rm { sessions, discard } => end::remove(&sessions, discard, printer).await,
    };
    match result {
        Ok(exit) => exit,
        Err(Failed::Places(error)) => fail_build(printer, &error),
        Err(Failed::CommandLine(error)) => fail(printer, &*error, Exit::CommandLine),
        Err(Failed::Session(error)) => {
            let exit = Exit::from(&error);
            fail(printer, &error, exit)
        }
        Err(Failed::TimedOut(error)) => fail(printer, &*error, Exit::TimedOut),
        Err(Failed::Copy(error)) => fail(printer, &error, Exit::Failed),
        Err(Failed::Terminal(error)) => fail(printer, &*error, Exit::Failed),
    }
}

/// Why a verb did not do what it is for.
enum Failed {
    Places(BuildError),
    CommandLine(Box<dyn std::error::Error>),
    Session(SessionError),
    TimedOut(Box<dyn std::error::Error>),
    Copy(CopyError),
    Terminal(Box<dyn std::error::Error>),
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<AgentError> for Failed {
    fn from(error: AgentError) -> Self {
        Self::Session(error.into())
    }
}

impl From<CopyError> for Failed {
    fn from(error: CopyError) -> Self {
        Self::Copy(error)
    }
}

impl Failed {
    fn command_line(text: impl Into<String>) -> Self {
        Self::CommandLine(text.into().into())
    }
}

/// The sessions that there are. What they may was decided when they were made: a policy that is wrong
/// now must not keep anybody from ending one.
fn sessions() -> Result<Sessions, Failed> {
    let places = Places::of_process().map_err(|e| Failed::Places(e.into()))?;
    Ok(open(places, Policy::default())?)
}

/// The same, to make one under the operator's policy.
fn sessions_by_policy() -> Result<(Sessions, Policy), Failed> {
    let places = Places::of_process().map_err(|e| Failed::Places(e.into()))?;
    let policy = policy_of(&places).map_err(Failed::Places)?;
    Ok((open(places, policy.clone())?, policy))
}

/// One session.
async fn session(name: &str) -> Result<Session, Failed> {
    Ok(sessions()?.find(name).await?)
}

impl From<&SessionError> for Exit {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::NotFound(_) | SessionError::ForeignImage(_) => Self::NotFound,
            SessionError::Ambiguous(_) => Self::CommandLine,
            SessionError::Refused(_) | SessionError::Sync(SyncError::TooLarge { .. }) => {
                Self::Refused
            }
            error if error.is_unavailable() => Self::Refused,
            SessionError::Image { source, .. } => Self::from(&**source),
            // As a shell has it.
            SessionError::Agent(AgentError::Request(_)) => Self::CommandLine,
            SessionError::Agent(error) => match error.code() {
                Some(Code::NoProgram) => Self::NotFound,
                Some(Code::NotExecutable) => Self::Refused,
                _ => Self::Failed,
            },
            _ => Self::Failed,
        }
    }
}
