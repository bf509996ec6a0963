//! The example programs, and what each has to print.

use std::ffi::OsStr;

use anyhow::{Result, ensure};

use crate::shell::{Shell, say};

/// Runs the example program of this name, which has to print each of these lines.
pub(super) fn run(shell: &Shell, name: &str, arguments: &[&OsStr], lines: &[&str]) -> Result<()> {
    // With the features of the command, so that nothing is compiled twice.
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axocoatl"])
        .args(["-p", "axocoatl-isolation", "--example", name])
        .run()?;
    let printed = shell
        .command(shell.release("examples").join(name))
        .args(arguments)
        .env("AXOCOATL_HOME", shell.scratch("home")?)
        .text()?;
    for line in lines {
        ensure!(
            printed.lines().any(|printed| printed == *line),
            "the example `{name}` does not print {line:?}:\n{printed}"
        );
    }
    say(format_args!(
        "{name:<12} {} lines as they should be",
        lines.len()
    ));
    Ok(())
}
