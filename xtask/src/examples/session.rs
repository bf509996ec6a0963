//! The example program of sessions, in an image of busybox.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{Shell, say};

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
    let (home, root) = (shell.scratch("home")?, shell.scratch("box")?);
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
        .env("AXOCOATL_HOME", &home)
        .run()?;
    // With the features of the command, so that nothing is compiled twice.
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axocoatl"])
        .args(["-p", "axocoatl-isolation", "--example", "session"])
        .run()?;
    let printed = shell
        .command(shell.release("examples/session"))
        .arg(NAME)
        .arg(shell.scratch("work")?)
        .env("AXOCOATL_HOME", &home)
        .text()?;
    for line in PRINTED {
        ensure!(
            printed.lines().any(|printed| printed == line),
            "the example `session` does not print {line:?}:\n{printed}"
        );
    }
    say(format_args!(
        "{:<12} {} lines as they should be",
        "session",
        PRINTED.len()
    ));
    Ok(())
}
