//! Why nothing was installed.

use std::path::PathBuf;

use crate::artifacts::ArtifactsError;
use crate::files::FileError;
use crate::kernel::KernelError;
use crate::lock::LockError;

/// Why nothing was installed. What was installed before is in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The kernel is refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What is to stay is not there, or damaged.
    #[error(transparent)]
    Installed(#[from] ArtifactsError),
    /// Another process installs, or removes.
    #[error(transparent)]
    Busy(#[from] LockError),
    /// The host failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program is not what it is to be.
    #[error("{}: {problem}; {fix}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// There is no digest to check a download against.
    #[error(
        "the SHA-256 of the archive of Firecracker {version} was not given, and without it nothing is \
         downloaded; upstream publishes it beside the archive, as {archive}.sha256.txt"
    )]
    NoDigest {
        /// Which release.
        version: String,
        /// The name of its archive.
        archive: String,
    },
    /// It cannot be downloaded.
    #[error("downloading {url}: {problem}; {fix}")]
    Download {
        /// From where.
        url: String,
        /// What happened.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// What was downloaded is not what was wanted.
    #[error("{url} has the SHA-256 {actual} instead of {expected}; do not trust it")]
    Digest {
        /// From where.
        url: String,
        /// Of what came.
        actual: String,
        /// What was given.
        expected: String,
    },
    /// The archive is no release.
    #[error(
        "the archive from {url}: {problem}; check that it is a release of Firecracker for x86_64"
    )]
    Archive {
        /// From where.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A task of our own ended without an answer.
    #[error("installing was given up: {0}; try again")]
    Lost(#[from] tokio::task::JoinError),
}
