//! The guest's kernel: from what an operator has to what Firecracker boots.
//!
//! ```text
//! Debian package ─deb─┬▶ bzImage ─bzimage─▶ ELF, checked
//!                     └▶ modules ─modules─▶ those that a guest needs, in the order of loading
//! ```
//!
//! A kernel is trusted to be a kernel, not to be well-formed: every length is checked before it is
//! used, and every size has a limit.

mod builtin;
mod bzimage;
mod deb;
mod decompress;
mod directory;
mod elf;
mod modinfo;
mod modules;

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// A kernel image as distributions ship it, in bytes. They are near ten million.
const MAX_IMAGE_BYTES: u64 = 128 << 20;

/// A kernel as ELF, in bytes. Debian's cloud kernel is 53 million.
pub(crate) const MAX_ELF_BYTES: u64 = 512 << 20;

/// A module, decompressed, in bytes. What a guest needs is below a million each.
pub(crate) const MAX_MODULE_BYTES: u64 = 32 << 20;

/// A kernel that a guest can be booted with.
pub(crate) struct Kernel {
    /// ELF.
    pub(crate) elf: Vec<u8>,
    /// `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    /// In the order of loading.
    pub(crate) modules: Vec<Module>,
}

/// A module of a kernel, decompressed.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Why a kernel is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is none, or damaged.
    #[error("{what}: {problem}; give a Debian kernel package, a bzImage or an ELF vmlinux")]
    Malformed {
        /// The file, or the part of it.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Compressed in a way that is not read here.
    #[error(
        "{what} is compressed with {compression}, which is not read here (gzip, xz, zstd and lz4 are); decompress it first"
    )]
    Compression {
        /// The file, or the part of it.
        what: String,
        /// How it is compressed.
        compression: &'static str,
    },
    /// Past one of the bounds.
    #[error("{what} passes the limit of {limit} bytes; check whether it is the right file")]
    TooLarge {
        /// The file, or the part of it.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// It cannot do what a guest needs.
    #[error(
        "kernel {release} has no {}, neither built in nor as a module; take one that has, as Debian's linux-image-cloud-amd64",
        .lacks.join(", ")
    )]
    Lacks {
        /// Which kernel.
        release: String,
        /// What is missing.
        lacks: Vec<String>,
    },
    /// The modules are for another kernel.
    #[error(
        "module {module} is for kernel {of}, not for {kernel}; give the modules of this kernel"
    )]
    Foreign {
        /// Which module.
        module: String,
        /// For which kernel it is.
        of: String,
        /// Which kernel it was given with.
        kernel: String,
    },
    /// A bare kernel, of which nobody knows what is built in.
    #[error(
        "{} is a bare kernel, which does not say what is built in; give its modules too, as the directory lib/modules/{release} or a Debian package, or give the kernel's Debian package",
        kernel.display()
    )]
    NoModules {
        /// The file.
        kernel: PathBuf,
        /// Its release.
        release: String,
    },
}

impl KernelError {
    fn malformed(what: &str, problem: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Reads the kernel in `path`: a Debian package, a bzImage, or an ELF. For the latter two, `modules`
/// has the modules: a directory `lib/modules/<release>`, or a Debian package. Without, everything
/// that a guest needs must be built in, and the kernel must say so (`CONFIG_IKCONFIG`). Of one that does
/// not say it, as Debian's, what can only be built in is taken for granted.
pub(crate) fn read(path: &Path, modules: Option<&Path>) -> Result<Kernel, KernelError> {
    if path.is_dir() {
        let what = path.display().to_string();
        return Err(KernelError::malformed(&what, "it is a directory"));
    }
    let (image, package) = if deb::is_package(path)? {
        (deb::kernel(path)?, Some(path))
    } else {
        (bare(path)?, None)
    };
    let what = path.display().to_string();
    let elf = bzimage::extract(&what, image)?;
    let release = elf::check_kernel(&what, &elf)?;
    let config = builtin::config(&elf);
    let modules = match modules.or(package) {
        Some(path) if path.is_dir() => modules::gather(&release, &directory::Tree::new(path))?,
        Some(path) => modules::gather(&release, &deb::Package::new(path))?,
        None => {
            let config = config.as_ref().ok_or_else(|| KernelError::NoModules {
                kernel: path.to_owned(),
                release: release.clone(),
            })?;
            builtin::check(&release, config, |_| true)?;
            Vec::new()
        }
    };
    if let Some(config) = &config {
        builtin::check(&release, config, |need| need.module.is_none())?;
    }
    Ok(Kernel {
        elf,
        release,
        modules,
    })
}

fn bare(path: &Path) -> Result<Vec<u8>, KernelError> {
    let file = File::open(path).map_err(FileError::at("opening", path))?;
    let image = files::read_to(file, MAX_ELF_BYTES).map_err(FileError::at("reading", path))?;
    within(&path.display().to_string(), image, MAX_ELF_BYTES)
}

/// What was read with one byte more than `limit`, unless that is there.
fn within(what: &str, bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, KernelError> {
    if bytes.len() as u64 > limit {
        return Err(KernelError::TooLarge {
            what: what.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
