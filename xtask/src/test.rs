//! `cargo xtask test`: all tests, after what they need is there.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::shell::{Shell, say};
use crate::{examples, nested, setup};

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Leave out the hosts that this one is not: they take twenty minutes
    #[arg(long)]
    this_host_only: bool,
    /// Passed on to `cargo nextest run`
    #[arg(last = true)]
    nextest: Vec<OsString>,
}

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    setup::run(shell, &setup::Arguments::default())?;
    examples::build_all(shell)?;

    let profile = if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
        "ci"
    } else {
        "default"
    };
    let tests = shell
        .cargo()
        .args([
            "nextest",
            "run",
            "--release",
            "--workspace",
            "--locked",
            "--profile",
            profile,
        ])
        .args(&arguments.nextest)
        .env("AXO_FIRECRACKER_BIN", setup::firecracker(shell))
        .env("AXO_KERNEL_PACKAGE", setup::guest_kernel(shell))
        .run();
    // Nothing of the workspace asks for its feature but the build of the helpers.
    let supervisor = shell
        .cargo()
        .args([
            "nextest",
            "run",
            "--release",
            "--locked",
            "--profile",
            profile,
        ])
        .args(["--package", "axo-runner", "--features", "supervisor"])
        .run();
    let nested = if arguments.this_host_only {
        None
    } else {
        Some(nested::run(shell))
    };
    // Nextest runs none of these.
    let doc_tests = shell
        .cargo()
        .args(["test", "--release", "--doc", "--workspace", "--locked"])
        .run();

    say("\nRan: the build of the example tools and the probe (passed)");
    let mut failed = Vec::new();
    for (what, result) in [
        ("the tests", tests),
        ("the tests of the supervisor", supervisor),
        ("the doc tests of the libraries", doc_tests),
    ] {
        say(format_args!(
            "     {what} ({})",
            if result.is_ok() { "passed" } else { "FAILED" }
        ));
        failed.extend(result.err().map(|error| error.to_string()));
    }
    match nested {
        None => say("     the nested hosts: NOT RUN (--this-host-only)"),
        Some(result) => {
            let word = if result.is_ok() { "passed" } else { "FAILED" };
            say(format_args!("     the nested hosts ({word})"));
            failed.extend(result.err().map(|error| error.to_string()));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}
