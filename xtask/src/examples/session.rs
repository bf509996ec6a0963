//! The example program of sessions, in an image of busybox.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result};

use super::program;
use crate::shell::Shell;

const NAME: &str = "localhost/example-box:1";
const APPLETS: [&str; 4] = ["sh", "echo", "sleep", "wc"];
/// Each of these is a line of what it prints.
const PRINTED: [&str; 5] = [
    "part 3",
    "ended: Code(3)",
    "from the background: alive",
    "counted inside: 21 notes",
    "listed: notes",
];

pub(super) fn run(shell: &Shell) -> Result<()> {
    let root = shell.scratch("box")?;
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin)?;
    let busybox = crate::vmhost::static_busybox(shell)
        .context("there is no static busybox: apt-get install busybox-static")?;
    std::fs::copy(busybox, bin.join("busybox"))?;
    for applet in APPLETS {
        let link = bin.join(applet);
        if !link.exists() {
            symlink("busybox", &link).with_context(|| format!("making {}", link.display()))?;
        }
    }
    shell
        .command(shell.release("axocoatl"))
        .args(["image", "import", "--name", NAME])
        .arg(&root)
        .env("AXOCOATL_HOME", shell.scratch("home")?)
        .run()?;
    let work = shell.scratch("work")?;
    program::run(shell, "session", &[NAME.as_ref(), work.as_ref()], &PRINTED)
}
