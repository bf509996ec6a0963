//! `cargo xtask conformance`: the cases every tier has to pass.

use anyhow::{Result, ensure};

use crate::nested;
use crate::shell::{Shell, say};

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Print the results as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Leave out tier microvm, unless this host's KVM runs guests; otherwise its cases are run in
    /// `vmhost`, which takes some ten minutes
    #[arg(long)]
    this_host_only: bool,
    /// Take for tier microvm what `nested` came to when it was run last
    #[arg(long, conflicts_with = "this_host_only")]
    last_nested: bool,
}

impl Arguments {
    /// After the tests, which have run `nested`.
    pub(crate) fn after_tests() -> Self {
        Self {
            last_nested: true,
            ..Self::default()
        }
    }
}

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    let here = match arguments.last_nested {
        true => None,
        false => nested::machines_here(shell)?,
    };
    let mut nested = Ok(());
    let mut cases = shell
        .cargo()
        .args(["run", "--release", "--locked", "-p", "axo-testkit"])
        .args(["--bin", "conformance", "--"])
        .args(arguments.json.then_some("--json"));
    match &here {
        Some((_lives, data)) => cases = cases.env("AXO_MACHINES", data),
        None if arguments.this_host_only => {}
        None => {
            // If cases failed, the table says which; whatever it says, a job that failed has.
            if !arguments.last_nested {
                nested = nested::microvm(shell);
            }
            if let Err(error) = &nested {
                say(format_args!("{error:#}"));
            }
            let results = nested::results(shell)?;
            ensure!(
                results.is_file(),
                "there are no results of tier microvm: cargo xtask nested runs its cases"
            );
            cases = cases.arg("--with").arg(results);
        }
    }
    cases.run()?;
    nested
}
