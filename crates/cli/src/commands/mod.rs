//! One file a command.

mod completions;
mod doctor;
mod gc;
mod image;
mod microvm;
mod run;
mod session;
mod tiers;
mod tool;

use axocoatl_isolation::{BuildError, FindError};

use crate::args::{Arguments, Command};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

/// Does what the command line says.
pub(crate) fn run(arguments: Arguments) -> Exit {
    let printer = Printer::new(arguments.json);
    crate::notices::show();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&printer, &error, Exit::Failed),
    };
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(arguments, &printer).await,
            Command::Tool(command) => tool::run(command, &printer).await,
            Command::Image(command) => image::run(command, &printer).await,
            Command::Session(command) => session::run(command, &printer).await,
            Command::Microvm(command) => microvm::run(command, &printer).await,
            Command::Tiers => tiers::run(&printer).await,
            Command::Doctor(arguments) => doctor::run(&arguments, &printer).await,
            Command::Gc(arguments) => gc::run(&arguments, &printer).await,
            Command::Completions { .. } if arguments.json => {
                fail(&printer, &NoJson, Exit::CommandLine)
            }
            Command::Completions { shell } => completions::run(shell),
        }
    });
    // A host call that hangs (a mount whose server is gone) must not keep us from ending.
    runtime.shutdown_background();
    match printer.failure() {
        // A result that did not arrive is no success.
        Some(source) if exit == Exit::Success || exit == Exit::Tool(0) => {
            fail(&printer, &NotWritten { source }, Exit::Failed)
        }
        _ => exit,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a completion script is for a shell: leave --json out")]
struct NoJson;

#[derive(Debug, thiserror::Error)]
#[error("writing the result to standard output")]
struct NotWritten {
    source: std::io::Error,
}

/// Shows an error and gives back the exit code.
fn fail(printer: &Printer, error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    printer.error(error, || convert::error(error, exit));
    exit
}

/// Shows why a tool was not found.
fn fail_find(printer: &Printer, error: &FindError) -> Exit {
    fail(printer, error, error.into())
}

/// Shows why there is no engine.
fn fail_build(printer: &Printer, error: &BuildError) -> Exit {
    match error {
        BuildError::Tool(error) => fail_find(printer, error),
        error => fail(printer, error, Exit::Failed),
    }
}

/// Shows why a text names no tool.
fn fail_reference(printer: &Printer, error: &crate::reference::ReferenceError) -> Exit {
    fail(printer, error, Exit::NotFound)
}
