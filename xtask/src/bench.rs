//! `cargo xtask bench`: whole work beside peers. Times are measured here and asserted nowhere.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::setup;
use crate::shell::{Shell, say};

mod microvm;

#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The WebAssembly tier, beside Wasmtime's own command
    Wasm(Arguments),
    /// The container tier, beside runc, youki, bubblewrap and podman
    Oci(Arguments),
    /// The tier of machines, beside bare Firecracker. Where KVM runs no guest, in `vmhost`
    Microvm(Arguments),
    /// Sessions, beside `podman exec`
    Session(Arguments),
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the results as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Write the results to a file
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn run(shell: &Shell, bench: &Bench) -> Result<()> {
    let (suite, arguments) = match bench {
        Bench::Wasm(arguments) => ("wasm", arguments),
        Bench::Oci(arguments) => ("oci", arguments),
        Bench::Microvm(arguments) => ("microvm", arguments),
        Bench::Session(arguments) => ("session", arguments),
    };
    // Without a peer the numbers of our own are still worth having.
    if let Err(error) = setup::run(
        shell,
        &setup::Arguments {
            ci: false,
            // Firecracker is no peer of benches alone.
            bench: !matches!(bench, Bench::Microvm(_)),
        },
    ) {
        say(format_args!(
            "set-up is incomplete, so a peer may be missing: {error:#}"
        ));
    }
    shell
        .cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "axocoatl",
            "--bin",
            "axocoatl",
        ])
        .args(["-p", "axo-testkit", "--bin", "bench"])
        .run()?;

    if let Bench::Microvm(_) = bench {
        return microvm::run(shell, arguments);
    }
    let mut command = shell
        .command(shell.release("bench"))
        .arg(suite)
        .args(arguments.json.then_some("--json"))
        .env("AXO_COMMAND", shell.release("axocoatl"));
    if let Some(out) = &arguments.out {
        // The bench starts in the workspace, not where the developer is.
        let out = std::path::absolute(out).context("the working directory is gone")?;
        command = command.arg("--out").arg(out);
    }
    if let Some(wasmtime) = setup::wasmtime(shell) {
        command = command.env("AXO_WASMTIME", wasmtime);
    }
    command.run()
}
