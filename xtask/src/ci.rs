//! `cargo xtask ci`: what CI runs, in order, up to the first failure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::shell::{Shell, say};
use crate::{conformance, examples, links, setup, test};

type Step = (&'static str, fn(&Shell) -> Result<()>);

const STEPS: &[Step] = &[
    ("setup", |shell| {
        setup::run(
            shell,
            &setup::Arguments {
                ci: true,
                bench: false,
            },
        )
    }),
    ("format", format),
    ("lints", lints),
    ("dependencies", dependencies),
    ("documentation", documentation),
    ("system libraries", links::check),
    ("tests", |shell| {
        test::run(shell, &test::Arguments::default())
    }),
    // The tests have built them.
    ("examples", examples::run_all),
    ("conformance", |shell| {
        conformance::run(shell, &conformance::Arguments::after_tests())
    }),
];

pub(crate) fn run(shell: &Shell) -> Result<()> {
    let mut durations = Vec::new();
    for (name, step) in STEPS {
        say(format_args!("\n== {name}"));
        let start = Instant::now();
        let result = step(shell);
        durations.push((*name, start.elapsed()));
        if result.is_err() {
            summary(&durations, true);
            return result.with_context(|| format!("the step `{name}` failed"));
        }
    }
    summary(&durations, false);
    Ok(())
}

fn summary(durations: &[(&str, Duration)], failed: bool) {
    say("\nstep                  time");
    for (index, (name, duration)) in durations.iter().enumerate() {
        let note = if failed && index + 1 == durations.len() {
            "  FAILED"
        } else {
            ""
        };
        say(format_args!(
            "{name:<18} {:>7.1}s{note}",
            duration.as_secs_f64()
        ));
    }
    for (name, _) in &STEPS[durations.len()..] {
        say(format_args!("{name:<18}  not run"));
    }
    let total: Duration = durations.iter().map(|(_, duration)| duration).sum();
    say(format_args!("{:<18} {:>7.1}s", "all", total.as_secs_f64()));
}

fn format(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args(["fmt", "--all", "--check"])
        .hint("cargo fmt --all puts it right")
        .run()
}

fn lints(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--release",
        ])
        // Nothing of the workspace asks for them but the build of the helpers, and a host with KVM.
        .args(["--features"])
        .arg("axo-runner/supervisor,axo-session/kvm-tests,axo-tier-vm/kvm-tests,axo-testkit/kvm-tests")
        .args(["--", "-D", "warnings"])
        .run()
}

fn dependencies(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args([
            "deny",
            "--locked",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ])
        .hint("deny.toml says what is allowed")
        .run()
}

fn documentation(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked", "--release"])
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .run()
}
