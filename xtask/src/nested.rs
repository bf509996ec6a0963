//! The conformance cases of tier oci on hosts that this one is not: in `vmhost`, pure cgroup v2 as
//! root, as an ordinary user, and under systemd's cgroup driver.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};

use crate::shell::{Shell, say};

/// What each host is, and how `vmhost` is asked for it.
const HOSTS: [(&str, &[&str]); 4] = [
    ("cgroup v2, root", &[]),
    ("cgroup v2, an ordinary user", &["--user", "tester"]),
    ("systemd, root", &["--init", "systemd"]),
    (
        "systemd, an ordinary user",
        &["--init", "systemd", "--user", "tester"],
    ),
];

/// An emulated processor takes several times as long as a real one.
const TIMEOUT: &str = "20min";

pub(crate) fn run(shell: &Shell) -> Result<()> {
    shell
        .cargo()
        .args(["build", "--release", "--locked", "-p", "axo-testkit"])
        .args(["--bin", "conformance"])
        .run()?;
    // Where any user of the machine may read, wherever the workspace lies.
    let shared = tempfile::Builder::new()
        .prefix("axo-nested-")
        .tempdir()
        .context("making a directory to share")?;
    std::fs::set_permissions(shared.path(), Permissions::from_mode(0o755))?;
    let program = shared.path().join("conformance");
    std::fs::copy(shell.release("conformance"), &program).context("copying the cases")?;
    let probe = shared.path().join("probe");
    shell
        .command("sh")
        .arg("crates/testkit/probe/build.sh")
        .arg("native")
        .arg(&probe)
        .run()?;
    let us = std::env::current_exe().context("finding this program")?;
    let mut failed = Vec::new();
    for (name, arguments) in HOSTS {
        say(format_args!("\n== conformance of tier oci: {name}"));
        let result = shell
            .command(&us)
            // The command's own directory, which the machine's user has to be able to enter.
            .directory(shared.path())
            .env("AXO_WORKSPACE", &shell.root)
            .args(["vmhost", "--timeout", TIMEOUT])
            // A file system on a disk, as bundles and mounts have.
            .args(["--env", "TMPDIR=/scratch", "--env", "AXO_EMULATED=1"])
            .args(["--env", &format!("AXO_NATIVE_PROBE={}", probe.display())])
            .args(arguments)
            .arg("--")
            .arg(&program)
            .args(["--subject", "oci"])
            .run();
        if let Err(error) = result {
            say(format_args!("{error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "tier oci does not keep its contract on: {}",
            failed.join("; ")
        );
    }
    Ok(())
}
