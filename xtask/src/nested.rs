//! What this host cannot show, in `vmhost`: the conformance cases of tier oci on pure cgroup v2 as root,
//! as an ordinary user, and under systemd's cgroup driver; those of tier microvm, and its own tests, with
//! a KVM that runs guests; sessions of an ordinary user, and in machines.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

mod jobs;

use jobs::Job;

use crate::setup;
use crate::shell::{Shell, Started};

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
/// comes back to its host, which then waits for it for ever; and one without a tick may never wake.
pub(crate) const HOST_OF_MACHINES: [&str; 3] = ["--cpus", "1", "--tick"];

/// The tests of sessions that are run there: those in which it matters whose podman it is.
const SESSIONS: [&str; 6] = [
    "adoption::the_next_process_finds_everything_as_it_was",
    "files::a_tree_comes_back_as_it_went",
    "killed_host::a_host_process_killed_in_the_middle_of_everything_costs_nothing_that_should_stay",
    "limits::limits_are_the_kernels",
    "network::a_published_port_is_reached_on_the_loopback_address_and_nowhere_else",
    "posture::a_locked_session_has_nothing_of_the_host",
];

/// The cases of tier microvm, and where they say what they came to.
const MICROVM: [&str; 4] = ["--subject", "microvm", "--save", "/results/microvm.json"];

/// An emulated processor takes several times as long as a real one.
const TIMEOUT: &str = "20min";

/// The example in Python that runs in an image.
const CSV_TOOL: &str = "csv-stats-image";

/// Where tier microvm is set up.
const MACHINES: &str = "machines";

/// Where what a program in the machine writes to `/results` is found.
const RESULTS: &str = "results";

pub(crate) fn run(shell: &Shell) -> Result<()> {
    forget_results(shell)?;
    let mut guest = Guest::new(shell)?;
    guest.python = Some(python(shell, &guest.shared)?);
    let sessions = sessions(shell, &guest.shared)?;
    let machine_tests = [
        ("as a whole", whole_tests(shell, &guest.shared)?),
        ("of sessions", machine_sessions(shell, &guest.shared)?),
        ("of its crate", machine_tests(shell, &guest.shared)?),
    ];
    // One after the other, as on every host.
    let one_by_one = ["--test-threads", "1"].map(str::to_owned);
    let oci = HOSTS.map(|(name, host)| Job {
        name: format!("conformance of tier oci: {name}"),
        host,
        program: &guest.conformance,
        arguments: ["--subject", "oci"].map(str::to_owned).into(),
        saves: None,
    });
    let machine_tests = machine_tests.iter().map(|(which, program)| Job {
        name: format!("tests of tier microvm, {which}"),
        host: &HOST_OF_MACHINES,
        program,
        arguments: one_by_one.to_vec(),
        saves: None,
    });
    let (name, host) = ORDINARY_USER;
    let named = ["--exact"].into_iter().chain(SESSIONS).map(str::to_owned);
    let sessions = Job {
        name: format!("sessions: {name}"),
        host,
        program: &sessions,
        arguments: one_by_one.iter().cloned().chain(named).collect(),
        saves: None,
    };
    // The longest first, so that none of them is left alone at the end.
    let jobs = [guest.microvm_cases()].into_iter().chain(machine_tests);
    let jobs = jobs
        .chain(oci.into_iter().rev())
        .chain([sessions])
        .collect();
    let failed = jobs::run(&guest, jobs);
    guest.keep_results()?;
    if !failed.is_empty() {
        bail!("what is promised is not kept: {}", failed.join("; "));
    }
    Ok(())
}

/// The conformance cases of tier microvm alone; [`results`] has what they came to.
pub(crate) fn microvm(shell: &Shell) -> Result<()> {
    forget_results(shell)?;
    Guest::new(shell)?.microvm()
}

/// What the conformance cases of tier microvm came to when they were run last.
pub(crate) fn results(shell: &Shell) -> Result<PathBuf> {
    Ok(shell.scratch("conformance")?.join("microvm.json"))
}

/// So that those of an earlier run are not taken for this one's.
fn forget_results(shell: &Shell) -> Result<()> {
    let kept = results(shell)?;
    if kept.exists() {
        std::fs::remove_file(&kept).with_context(|| format!("removing {}", kept.display()))?;
    }
    Ok(())
}

/// A data directory in which tier microvm is set up, for as long as the other lives, if this host's KVM
/// runs guests.
pub(crate) fn machines_here(shell: &Shell) -> Result<Option<(TempDir, PathBuf)>> {
    let shared = shared()?;
    let data = machines(shell, &shared)?;
    let works = no_machine(shell, &shared.path().join(MACHINES))?.is_none();
    Ok(works.then_some((shared, data)))
}

/// Why no machine runs on this host with what is set up in `home`, if none does. The command was built.
pub(crate) fn no_machine(shell: &Shell, home: &Path) -> Result<Option<String>> {
    let proofs = shell
        .command(shell.release("axocoatl"))
        .env("AXOCOATL_HOME", home)
        .args(["tiers", "--json"])
        .json()?;
    let proofs = proofs["tiers"].as_array().context("it names no tiers")?;
    let machines = proofs.iter().find(|proof| proof["tier"] == "microvm");
    let machines = machines.context("it does not know tier microvm")?;
    Ok(match machines["works"] == true {
        true => None,
        false => Some(machines["reason"].as_str().unwrap_or_default().to_owned()),
    })
}

/// What is run in the machine, and how.
struct Guest<'a> {
    shell: &'a Shell,
    conformance: PathBuf,
    /// A data directory in which tier microvm is set up.
    machines: PathBuf,
    guest_init: PathBuf,
    probe: PathBuf,
    /// A Debian with Python, where the tests want one.
    python: Option<PathBuf>,
    shared: TempDir,
}

impl<'a> Guest<'a> {
    fn new(shell: &'a Shell) -> Result<Self> {
        let shared = shared()?;
        Ok(Self {
            shell,
            conformance: conformance(shell, &shared)?,
            machines: machines(shell, &shared)?,
            guest_init: guest_init(shell, &shared)?,
            probe: probe(shell, &shared)?,
            python: None,
            shared,
        })
    }

    /// The cases of tier microvm. What they came to is kept, if it is bad too.
    fn microvm(&self) -> Result<()> {
        let failed = jobs::run(self, vec![self.microvm_cases()]);
        self.keep_results()?;
        ensure!(failed.is_empty(), "{} failed", failed.join("; "));
        Ok(())
    }

    fn microvm_cases(&self) -> Job<'_> {
        Job {
            name: "conformance of tier microvm".into(),
            host: &HOST_OF_MACHINES,
            program: &self.conformance,
            arguments: MICROVM.map(str::to_owned).into(),
            saves: Some(self.saved()),
        }
    }

    /// Where they say what they came to, as this host sees it.
    fn saved(&self) -> PathBuf {
        self.shared.path().join(RESULTS).join("microvm.json")
    }

    /// What the cases of tier microvm came to, if they were run.
    fn keep_results(&self) -> Result<()> {
        let saved = self.saved();
        if saved.exists() {
            let kept = results(self.shell)?;
            std::fs::copy(&saved, &kept).with_context(|| format!("writing {}", kept.display()))?;
        }
        Ok(())
    }

    /// A program in a machine; without its arguments.
    fn command(&self, host: &[&str], program: &Path) -> Result<Started> {
        let python = self.python.as_ref();
        let python = python.map(|path| {
            let tool = self.shared.path().join(CSV_TOOL);
            [("AXO_PYTHON", path), ("AXO_CSV_TOOL", &tool)]
                .map(|(name, path)| format!("{name}={}", path.display()))
        });
        Ok(vmhost(self.shell, self.shared.path())?
            .arg("--results")
            .arg(self.shared.path().join(RESULTS))
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
            .args(python.iter().flatten().flat_map(|one| ["--env", one]))
            .args(host)
            .arg("--")
            .arg(program))
    }
}

/// `cargo xtask vmhost` in a directory, which the machine's user has to be able to enter; without the
/// command.
pub(crate) fn vmhost(shell: &Shell, directory: &Path) -> Result<Started> {
    let us = std::env::current_exe().context("finding this program")?;
    Ok(shell
        .command(us)
        .directory(directory)
        .env("AXO_WORKSPACE", &shell.root)
        .args(["vmhost", "--timeout", TIMEOUT])
        // A file system on a disk, as bundles and mounts have.
        .args(["--env", "TMPDIR=/scratch", "--env", "AXO_EMULATED=1"]))
}

/// A directory to share with machines, where any user of them may read, wherever the workspace lies.
pub(crate) fn shared() -> Result<TempDir> {
    let shared = tempfile::Builder::new()
        .prefix("axo-nested-")
        .tempdir()
        .context("making a directory to share")?;
    std::fs::set_permissions(shared.path(), Permissions::from_mode(0o755))?;
    Ok(shared)
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

/// The tests of tier microvm as a whole, which want one too.
fn whole_tests(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let program = test_program(shell, "microvm", &["--features", "axo-testkit/kvm-tests"])?;
    share(&program, shared, "microvm")
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
    set_up_machines(shell, &shared.path().join(MACHINES))
}

/// Sets tier microvm up by the command, which was built, and answers the data directory in `home`.
pub(crate) fn set_up_machines(shell: &Shell, home: &Path) -> Result<PathBuf> {
    let programs = setup::firecracker(shell);
    shell
        .command(shell.release("axocoatl"))
        .env("AXOCOATL_HOME", home)
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

/// The root file system of a Debian with Python that the tests of tier oci have made. The tool that
/// needs it comes beside it, as [`CSV_TOOL`].
fn python(shell: &Shell, shared: &TempDir) -> Result<PathBuf> {
    let made = shell.target.join("tmp").join("debian-python");
    ensure!(
        made.is_dir(),
        "there is no {}: `cargo xtask test --this-host-only -- -E 'test(python)'` makes it",
        made.display()
    );
    let path = shared.path().join("debian-python");
    let tool = shell.root.join("examples/tools").join(CSV_TOOL);
    // Where these are, a machine may have something of its own.
    for (from, to) in [(&made, &path), (&tool, &shared.path().join(CSV_TOOL))] {
        shell
            .command("cp")
            .args(["--archive", "--reflink=auto"])
            .args([from, to])
            .run()?;
    }
    Ok(path)
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

pub(crate) fn share(program: &Path, shared: &TempDir, name: &str) -> Result<PathBuf> {
    let path = shared.path().join(name);
    std::fs::copy(program, &path).with_context(|| format!("copying {}", program.display()))?;
    Ok(path)
}
