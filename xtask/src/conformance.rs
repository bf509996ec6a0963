//! `cargo xtask conformance`: the cases every tier has to pass.

use anyhow::Result;

use crate::shell::Shell;

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Print the results as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    shell
        .cargo()
        .args([
            "run",
            "--release",
            "--locked",
            "-p",
            "axo-testkit",
            "--bin",
            "conformance",
            "--",
        ])
        .args(arguments.json.then_some("--json"))
        .run()
}
