//! What is done with the workspace beyond `cargo build`. All notes go to standard error, so standard
//! output is only what a started command prints there.

#![expect(
    clippy::print_stderr,
    reason = "a command for developers, whose notes go to the terminal"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod conformance;
mod examples;
mod links;
mod nested;
mod setup;
mod shell;
mod test;
mod vmhost;

/// Set-up, tests, benches and examples of Axocoatl Isolation
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, where it is missing
    Setup(setup::Arguments),
    /// Run all tests: builds the example tools and the probe first
    Test(test::Arguments),
    /// Build the example tools from source and run them, on their cases and on large inputs
    Examples(examples::Arguments),
    /// Run the conformance cases on every tier
    Conformance(conformance::Arguments),
    /// Run the conformance cases of tier oci on hosts that this one is not, in `vmhost`
    Nested,
    /// Measure, beside peers
    #[command(subcommand)]
    Bench(bench::Bench),
    Vmhost(Box<vmhost::Arguments>),
    /// Run what CI runs
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            shell::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let shell = shell::Shell::new()?;
    match command {
        Command::Setup(arguments) => setup::run(&shell, &arguments),
        Command::Test(arguments) => test::run(&shell, &arguments),
        Command::Examples(arguments) => examples::run(&shell, &arguments),
        Command::Conformance(arguments) => conformance::run(&shell, &arguments),
        Command::Nested => nested::run(&shell),
        Command::Bench(bench) => bench::run(&shell, &bench),
        Command::Ci => ci::run(&shell),
        Command::Vmhost(arguments) => return Ok(vmhost::run(&shell, &arguments)),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
