//! Installing what microVMs are started with: Firecracker and its jailer, of a release or of files, and a
//! kernel, of a file.
//!
//! ```text
//! release archive ──digest, unpack──┐
//! programs of the operator's ───────┼▶ setups/.new-<id>/ ──start each for its version──▶ record
//! kernel package, or kernel ─check──┘                                                        │
//!                            current ──renamed link──▶ setups/<id>/ ◀──synced, renamed───────┘
//! ```
//!
//! Until the link is renamed, what was installed before is in force, and machines go on with it.

mod error;
mod install;
mod programs;
mod release;
mod versions;

use std::path::{Path, PathBuf};

pub use error::SetupError;
pub use release::Release;
pub use versions::{Vulnerability, vulnerabilities};

use crate::artifacts::Artifacts;

/// Where Firecracker and its jailer come from.
#[derive(Clone, Debug)]
pub enum FirecrackerSource {
    /// Files on this machine.
    Given {
        /// The program `firecracker`.
        firecracker: PathBuf,
        /// The program `jailer`, of the same release.
        jailer: PathBuf,
    },
    /// The archive of a release of upstream's.
    Release(Release),
    /// What is installed already.
    Installed,
}

/// Where the guest's kernel comes from.
#[derive(Clone, Debug)]
pub enum KernelSource {
    /// Files on this machine.
    Given {
        /// A Debian kernel package, a bzImage, or an ELF.
        kernel: PathBuf,
        /// For the latter two: the directory `lib/modules/<release>` of its modules, or a Debian package
        /// with them. Without, the kernel must have everything built in, and must carry its configuration
        /// to say so.
        modules: Option<PathBuf>,
    },
    /// What is installed already.
    Installed,
}

/// Installs both in `data`, the engine's data directory, in place of what is installed.
///
/// # Errors
/// [`SetupError`]; then everything is as it was.
pub async fn install(
    data: &Path,
    firecracker: &FirecrackerSource,
    kernel: &KernelSource,
) -> Result<Artifacts, SetupError> {
    install::install(data, firecracker, kernel).await
}
