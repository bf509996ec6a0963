//! The image that an example tool runs in: a Debian with Python, made once and kept.

use anyhow::{Context as _, Result};

use crate::shell::Shell;

/// The one tool that is an image, and the name that its manifest says.
const TOOL: &str = "csv-stats-image";
const NAME: &str = "localhost/debian-python:bookworm";

/// Puts the tool's image into the store that its calls use.
pub(super) fn prepare(shell: &Shell, tool: &str) -> Result<()> {
    if tool != TOOL {
        return Ok(());
    }
    // The same as the tests of tier oci keep.
    let kept = shell.target.join("tmp/debian-python");
    if !kept.exists() {
        let new = kept.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        shell
            .command("debootstrap")
            .args(["--variant=minbase", "--include=python3", "bookworm"])
            .arg(&new)
            .run()
            .context("apt-get install debootstrap, and be root")?;
        // Images have no device nodes.
        let devices = new.join("dev");
        std::fs::remove_dir_all(&devices)
            .and_then(|()| std::fs::create_dir(&devices))
            .and_then(|()| std::fs::rename(&new, &kept))
            .with_context(|| format!("finishing {}", kept.display()))?;
    }
    shell
        .command(shell.release("axocoatl"))
        .args(["image", "import", "--name", NAME])
        .arg(&kept)
        .env("AXOCOATL_HOME", shell.scratch("home")?)
        .run()
}
