//! The `axocoatl` command. It converts between the terminal and the library, and nothing else.

mod args;
mod commands;
mod convert;
mod exit;
mod mounts;
mod notices;
mod printer;
mod progress;
mod reference;
mod setup;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;
use crate::exit::Exit;

fn main() -> ExitCode {
    // Before anything else: this program is also its own compiler process.
    axocoatl_isolation::serve_compiler_if_asked();
    match Arguments::try_parse() {
        Ok(arguments) => commands::run(arguments).into(),
        Err(message) => {
            // Help and version are no errors, and go to standard output.
            let exit = if message.use_stderr() {
                Exit::CommandLine
            } else {
                Exit::Success
            };
            match message.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Failed.into(),
            }
        }
    }
}
