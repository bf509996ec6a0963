//! `cargo xtask setup`: what the tests need and the build does not.

use anyhow::{Result, ensure};

use crate::shell::{Shell, say};

mod debian;
mod firecracker;
mod wasmtime;
mod youki;

pub(crate) use firecracker::{kernel as guest_kernel, path as firecracker};
pub(crate) use wasmtime::path as wasmtime;

/// Programs of cargo, as they are installed when there is none.
const NEXTEST: (&str, &str) = ("nextest", "0.9.143");
const DENY: (&str, &str) = ("deny", "0.20.2");

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// And what `cargo xtask ci` needs
    #[arg(long)]
    pub(crate) ci: bool,
    /// And what `cargo xtask bench` compares with
    #[arg(long)]
    pub(crate) bench: bool,
}

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    debian::install(shell)?;
    firecracker::install(shell)?;
    install_cargo_program(shell, NEXTEST)?;
    if arguments.ci {
        install_cargo_program(shell, DENY)?;
        for component in ["fmt", "clippy"] {
            ensure!(
                shell.cargo().args([component, "--version"]).works(),
                "there is no `cargo {component}`: rustup component add rustfmt clippy"
            );
        }
    }
    if arguments.bench {
        wasmtime::install(shell)?;
        youki::install(shell)?;
    }
    say("set up: all that is needed is installed");
    Ok(())
}

/// One that is there already is taken whatever its version.
fn install_cargo_program(shell: &Shell, (name, version): (&str, &str)) -> Result<()> {
    if shell.cargo().args([name, "--version"]).works() {
        return Ok(());
    }
    shell
        .cargo()
        .args([
            "install",
            // Compiled in half the time, and quick enough.
            "--debug",
            &format!("cargo-{name}"),
            "--version",
            version,
            "--locked",
            "--root",
        ])
        .arg(&shell.tools)
        // Compiled in a temporary directory, not among what the workspace compiled.
        .without_env("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .run()
}
