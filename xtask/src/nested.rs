//! What this host cannot show, in `vmhost`: the conformance cases of tier oci on pure cgroup v2 as root,
//! as an ordinary user, and under systemd's cgroup driver; those of tier microvm, and its own tests, with
//! a KVM that runs guests; sessions of an ordinary user, and in machines.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::setup;
use crate::shell::{Shell, say};

/// What each host is, and how `vmhost` is asked for it.
const HOSTS: [(&str, &[&str]); 4] = [
    ("cgroup v2, root", &[]),
    ORDINARY_USER,
    ("systemd, root", &["--init", "systemd"]),
    (
        "systemd, an ordinary user",
        &["--init", "systemd", "--user", "tester"],
    ),
];
const ORDINARY_USER: (&str, &[&str]) = ("cgroup v2, an ordinary user", &["--user", "tester"]);

/// For machines in the machine: of two emulated processors, one that runs a guest now and then never
/// comes back to its host, which then waits for it for ever.
const ONE_PROCESSOR: [&str; 2] = ["--cpus", "1"];

/// The tests of sessions that are run there: those in which it matters whose podman it is.
const SESSIONS: [&str; 6] = [
    "adoption::the_next_process_finds_everything_as_it_was",
    "files::a_tree_comes_back_as_it_went",
    "killed_host::a_host_process_killed_in_the_middle_of_everything_costs_nothing_that_should_stay",
    "limits::limits_are_the_kernels",
    "network::a_published_port_is_reached_on_the_loopback_address_and_nowhere_else",
    "posture::a_locked_session_has_nothing_of_the_host",
];

/// An emulated processor takes several times as long as a real one.
const TIMEOUT: &str = "20min";

pub(crate) fn run(shell: &Shell) -> Result<()> {
    // Where any user of the machine may read, wherever the workspace lies.
    let shared = tempfile::Builder::new()
        .prefix("axo-nested-")
        .tempdir()
        .context("making a directory to share")?;
    std::fs::set_permissions(shared.path(), Permissions::from_mode(0o755))?;
    let guest = Guest {
        shell,
        conformance: conformance(shell, &shared)?,
        sessions: sessions(shell, &shared)?,
        machines: machines(shell, &shared)?,
        machine_tests: machine_tests(shell, &shared)?,
        machine_sessions: machine_sessions(shell, &shared)?,
        guest_init: guest_init(shell, &shared)?,
        probe: probe(shell, &shared)?,
        shared,
    };
    let mut failed = Vec::new();
    let mut note = |name: String, result: Result<()>| {
        if let Err(error) = result {
            say(format_args!("{error:#}"));
            failed.push(name);
        }
    };
    for (name, host) in HOSTS {
        say(format_args!("\n== conformance of tier oci: {name}"));
        let result = guest.run(host, &guest.conformance, &["--subject", "oci"]);
        note(format!("tier oci: {name}"), result);
    }
    say("\n== tier microvm: its own tests");
    let result = guest.run(
        &ONE_PROCESSOR,
        &guest.machine_tests,
        &["--test-threads", "1"],
    );
    note("the tests of tier microvm".into(), result);
    say("\n== sessions on tier microvm");
    let result = guest.run(
        &ONE_PROCESSOR,
        &guest.machine_sessions,
        &["--test-threads", "1"],
    );
    note("sessions on tier microvm".into(), result);
    say("\n== conformance of tier microvm");
    let result = guest.run(
        &ONE_PROCESSOR,
        &guest.conformance,
        &["--subject", "microvm"],
    );
    note("tier microvm".into(), result);
    let (name, host) = ORDINARY_USER;
    say(format_args!("\n== sessions: {name}"));
    // One after the other, as on every host.
    let arguments = [&["--test-threads", "1", "--exact"][..], &SESSIONS].concat();
    let result = guest.run(host, &guest.sessions, &arguments);
    note(format!("sessions: {name}"), result);
    if !failed.is_empty() {
        bail!("what is promised is not kept on: {}", failed.join("; "));
    }
    Ok(())
}

/// What is run in the machine, and how.
struct Guest<'a> {
    shell: &'a Shell,
    conformance: PathBuf,
    sessions: PathBuf,
    /// A data directory in which tier microvm is set up.
    machines: PathBuf,
    machine_tests: PathBuf,
    machine_sessions: PathBuf,
    guest_init: PathBuf,
    probe: PathBuf,
    shared: TempDir,
}

impl Guest<'_> {
    fn run(&self, host: &[&str], program: &Path, arguments: &[&str]) -> Result<()> {
        let us = std::env::current_exe().context("finding this program")?;
        self.shell
            .command(us)
            // The command's own directory, which the machine's user has to be able to enter.
            .directory(self.shared.path())
            .env("AXO_WORKSPACE", &self.shell.root)
            .args(["vmhost", "--timeout", TIMEOUT])
            // A file system on a disk, as bundles and mounts have.
            .args(["--env", "TMPDIR=/scratch", "--env", "AXO_EMULATED=1"])
            .args([
                "--env",
                &format!("AXO_NATIVE_PROBE={}", self.probe.display()),
                "--env",
                &format!("AXO_MACHINES={}", self.machines.display()),
                "--env",
                &format!("AXO_MICROVM={}/microvm/current", self.machines.display()),
                "--env",
                &format!("AXO_GUEST_INIT={}", self.guest_init.display()),
            ])
            .args(host)
            .arg("--")
            .arg(program)
            .args(arguments)
            .run()
    }
}

/// The conformance cases, as a program of their own.
fn conformance(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axo-testkit"])
        .args(["--bin", "conformance"])
        .run()?;
    share(&shell.release("conformance"), shared, "conformance")
}

/// The tests of sessions.
fn sessions(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let program = test_program(shell, "sessions", &[])?;
    // A name that is no test's would pass in the machine.
    let listed = shell
        .command(&program)
        .args(["--list", "--format", "terse"])
        .text()?;
    for name in SESSIONS {
        ensure!(
            listed.lines().any(|line| line == format!("{name}: test")),
            "{name} is no test of sessions"
        );
    }
    share(&program, shared, "sessions")
}

/// The tests of tier microvm that want a KVM.
fn machine_tests(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let program = test_program(shell, "vm", &["--features", "axo-tier-vm/kvm-tests"])?;
    share(&program, shared, "vm")
}

/// The tests of sessions that live in machines.
fn machine_sessions(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let program = test_program(shell, "machines", &["--features", "axo-session/kvm-tests"])?;
    share(&program, shared, "machine-sessions")
}

/// What their guests run: the host in the machine has no compiler.
fn guest_init(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let path = shared.path().join("guest-init");
    shell
        .command("rustc")
        .args(["--edition", "2024", "-O"])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&path)
        .arg("crates/tier-vm/tests/stand_in/init.rs")
        .run()?;
    Ok(path)
}

/// Tier microvm, set up by the command itself, for which no KVM is needed.
fn machines(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axocoatl"])
        .run()?;
    let home = shared.path().join("machines");
    let programs = setup::firecracker(shell);
    shell
        .command(shell.release("axocoatl"))
        .env("AXOCOATL_HOME", &home)
        .args(["microvm", "setup", "--firecracker"])
        .arg(programs.join("firecracker"))
        .arg("--jailer")
        .arg(programs.join("jailer"))
        .arg("--kernel")
        .arg(setup::guest_kernel(shell))
        .run()?;
    Ok(home.join("data"))
}

/// A program of tests, which cargo gives a name of its own.
fn test_program(shell: &Shell, name: &str, more: &[&str]) -> Result<PathBuf> {
    let built = shell
        .cargo()
        .args(["test", "--release", "--workspace", "--locked", "--no-run"])
        .args(["--test", name, "--message-format", "json"])
        .args(more)
        .text()?;
    built
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == name)
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo does not say where it built the tests {name}"))
}

/// The hostile program.
fn probe(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let probe = shared.path().join("probe");
    shell
        .command("sh")
        .arg("crates/testkit/probe/build.sh")
        .arg("native")
        .arg(&probe)
        .run()?;
    Ok(probe)
}

fn share(program: &Path, shared: &TempDir, name: &str) -> Result<PathBuf> {
    let path = shared.path().join(name);
    std::fs::copy(program, &path).with_context(|| format!("copying {}", program.display()))?;
    Ok(path)
}
