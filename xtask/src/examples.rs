//! `cargo xtask examples`: the example tools, built from source and run through the real command.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{Shell, say};

mod build;
mod call;
mod cases;
mod image;
mod large;
mod numbers;
mod program;
mod session;

const TOOLS: &str = "examples/tools";
/// Each of these is a line of what the example program `call` prints.
const CALL_PRINTS: [&str; 3] = [
    "decision  wasm",
    "on wasm: it exited with status 0",
    r#"on none: {"greeting":"hello Ada"}"#,
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The tool; all when none is named
    name: Option<String>,
    /// Build, and run nothing
    #[arg(long)]
    build_only: bool,
}

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    let all = names(shell)?;
    let Some(name) = &arguments.name else {
        build_all(shell)?;
        return if arguments.build_only {
            Ok(())
        } else {
            run_all(shell)
        };
    };
    ensure!(
        all.contains(name),
        "there is no example tool {name}; there are {}",
        all.join(", ")
    );
    build::tool(shell, name)?;
    if arguments.build_only {
        return Ok(());
    }
    build_command(shell)?;
    run_tool(shell, name)
}

/// Builds all tools and the probe, and checks that what is committed is what the sources give.
pub(crate) fn build_all(shell: &Shell) -> Result<()> {
    for name in names(shell)? {
        build::tool(shell, &name)?;
    }
    build::probe(shell)
}

/// Runs all tools. They have to be built.
pub(crate) fn run_all(shell: &Shell) -> Result<()> {
    build_command(shell)?;
    names(shell)?
        .iter()
        .try_for_each(|name| run_tool(shell, name))?;
    program::run(
        shell,
        "call",
        &[
            format!("{TOOLS}/word-count").as_ref(),
            r#"{"text": "to be or not to be"}"#.as_ref(),
        ],
        &CALL_PRINTS,
    )?;
    session::run(shell)
}

fn build_command(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axocoatl"])
        .run()
}

fn run_tool(shell: &Shell, name: &str) -> Result<()> {
    image::prepare(shell, name)?;
    let cases = cases::run(shell, name).with_context(|| format!("the tool {name}"))?;
    let large = large::run(shell, name).with_context(|| format!("the tool {name}"))?;
    let large = large.map(|large| format!("; {large}")).unwrap_or_default();
    say(format_args!("{name:<12} {cases}{large}"));
    Ok(())
}

fn names(shell: &Shell) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let reading = || format!("reading {TOOLS}");
    for entry in std::fs::read_dir(shell.root.join(TOOLS)).with_context(reading)? {
        let path: PathBuf = entry.with_context(reading)?.path();
        if path.join("tool.toml").is_file() {
            names.extend(
                path.file_name()
                    .and_then(|name| name.to_str())
                    .map(str::to_owned),
            );
        }
    }
    names.sort();
    Ok(names)
}
