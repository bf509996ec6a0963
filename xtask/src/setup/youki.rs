//! youki, the container runtime of the library that tier-oci's runner uses: a peer in benches.

use anyhow::{Result, ensure};

use crate::shell::Shell;

/// The release of libcontainer that crates/runner embeds.
const VERSION: &str = "0.7.0";
/// With these alone it needs no C library.
const FEATURES: &str = "v1,v2";

/// One that is there already is taken whatever its version.
pub(super) fn install(shell: &Shell) -> Result<()> {
    let is_there = || shell.command("youki").arg("--version").works();
    if !is_there() {
        shell
            .cargo()
            .args(["install", "youki", "--version", VERSION, "--locked"])
            .args(["--no-default-features", "--features", FEATURES, "--root"])
            .arg(&shell.tools)
            // Compiled in a temporary directory, not among what the workspace compiled.
            .without_env("CARGO_TARGET_DIR")
            .run()?;
    }
    ensure!(is_there(), "youki {VERSION} does not run here");
    Ok(())
}
