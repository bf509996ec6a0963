//! Other programs that run a container: each a whole process on the same bundle.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::bundle::{self, Bundle, PROGRAM};
use crate::process;

pub(crate) const RUNC: &str = "runc run";
pub(crate) const YOUKI: &str = "youki run";
pub(crate) const BWRAP: &str = "bwrap --unshare-all";
const PODMAN: &str = "podman run, image of the same root";

/// The image that podman runs.
const IMAGE: &str = "axo-bench";
/// Runs of podman in a round: it takes many times as long as the others.
const FEW: usize = 2;

/// A program to compare with.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What installs it.
    pub(crate) install: &'static str,
    /// Its runs in a round; `None` for as many as ours.
    pub(crate) runs: Option<usize>,
    /// The command of a run, given a name that no other run has.
    pub(crate) command: fn(&Bundle, &str) -> Command,
    /// What has to be made before the first run.
    pub(crate) prepare: fn(&Bundle) -> anyhow::Result<()>,
}

pub(crate) const ALL: [Peer; 4] = [
    Peer {
        name: RUNC,
        install: "apt-get install runc",
        runs: None,
        command: |bundle, id| runtime(Command::new("runc"), "runc", bundle, id),
        prepare: |_| Ok(()),
    },
    Peer {
        name: YOUKI,
        install: "cargo xtask setup --bench",
        runs: None,
        command: youki,
        prepare: |_| Ok(()),
    },
    Peer {
        name: BWRAP,
        install: "apt-get install bubblewrap",
        runs: None,
        command: |bundle, _| bwrap(bundle),
        prepare: |_| Ok(()),
    },
    Peer {
        name: PODMAN,
        install: "apt-get install podman runc",
        runs: Some(FEW),
        command: |bundle, _| podman_run(bundle),
        prepare: import,
    },
];

impl Peer {
    /// Makes it ready, and sees that it does the work.
    pub(crate) fn try_out(&self, bundle: &Bundle) -> anyhow::Result<()> {
        (self.prepare)(bundle)?;
        let command = &mut (self.command)(bundle, "trial");
        bundle::check(&process::printed(command, &bundle.input_file())?)
    }
}

/// It masks signals only after it has started the tool. That of a tool which has ended by then is lost,
/// and it waits for ever; unless the signal is blocked from the beginning.
fn youki(bundle: &Bundle, id: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--block-signal=CHLD", "youki"]);
    runtime(command, "youki", bundle, id)
}

/// An OCI runtime, with its state in a place of ours.
fn runtime(mut command: Command, program: &str, bundle: &Bundle, id: &str) -> Command {
    command
        .arg("--root")
        .arg(bundle.home().join(program))
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(id);
    command
}

fn bwrap(bundle: &Bundle) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-all", "--die-with-parent", "--ro-bind"])
        .arg(bundle.root())
        .args(["/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"])
        .arg(PROGRAM);
    command
}

/// Podman with a store of its own. Not every cgroup hierarchy suits crun, which it prefers.
fn podman(bundle: &Bundle) -> Command {
    let home = bundle.home().join("podman");
    let mut command = Command::new("podman");
    for (option, directory) in [
        ("--root", "store"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ] {
        command.arg(option).arg(home.join(directory));
    }
    command.args(["--storage-driver", "overlay"]);
    command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
    command
}

fn import(bundle: &Bundle) -> anyhow::Result<()> {
    let archive = bundle.home().join("root.tar");
    let status = Command::new("tar")
        .arg("-C")
        .arg(bundle.root())
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status()
        .context("starting tar")?;
    ensure!(status.success(), "tar ended with {status}");
    let output = podman(bundle)
        .args(["import", "--quiet"])
        .arg(&archive)
        .arg(IMAGE)
        .output()
        .context("starting podman")?;
    ensure!(
        output.status.success(),
        "podman import: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn podman_run(bundle: &Bundle) -> Command {
    let mut command = podman(bundle);
    command
        .args([
            "run",
            "--rm",
            "--interactive",
            "--read-only",
            "--network",
            "none",
        ])
        // Its own are higher than this process may give.
        .args([
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ])
        .args([IMAGE, PROGRAM]);
    command
}
