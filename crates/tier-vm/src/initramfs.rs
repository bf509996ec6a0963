//! What a guest boots into: a cpio archive of the guest agent, the runner and the kernel's modules.
//!
//! The format is `newc`, uncompressed, which a kernel unpacks quickest:
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::LazyLock;

use axo_helpers::Helper;
use cpio::newc::{Builder, ModeFileType, trailer};
use sha2::{Digest as _, Sha256};

use crate::artifacts::Artifacts;
use crate::cache;
use crate::digest::hex;
use crate::files::{self, Aside, FileError};
use crate::kernel::MAX_MODULE_BYTES;
use crate::lock::LockError;
use crate::places::Places;

/// Part of the digest: another number for whatever changes in what [`write`] writes of the same
/// parts.
const FORMAT: &str = "axocoatl initramfs 1";

/// Directories of a guest's first root.
const DIRECTORIES: [&str; 9] = [
    "dev", "files", "image", "modules", "proc", "root", "run", "sys", "tmp",
];

/// An initramfs. While its file, or a duplicate of it, is open, it keeps its name.
#[derive(Debug)]
pub struct Initramfs {
    /// Open for reading.
    pub file: File,
    /// Of everything that is in it.
    pub digest: String,
}

/// The initramfs for `artifacts`, kept in `data`, the engine's data directory; made if this is its
/// first use.
///
/// # Errors
/// The host failed, or another process takes far too long to make the same.
pub fn initramfs(data: &Path, artifacts: &Artifacts) -> Result<Initramfs, LockError> {
    let digest = digest(artifacts);
    let directory = Places::of(data).initramfs();
    let file = cache::open_or_make::<LockError>(&directory, &name(&digest), |aside| {
        Ok(write(aside, artifacts)?)
    })?;
    Ok(Initramfs { file, digest })
}

pub(crate) fn name(digest: &str) -> String {
    format!("{digest}.cpio")
}

/// The digest of what is in the initramfs for `artifacts`.
pub(crate) fn digest(artifacts: &Artifacts) -> String {
    // Millions of bytes, which never change while we live.
    static PROGRAMS: LazyLock<[String; 2]> =
        LazyLock::new(|| [axo_helpers::guest_agent(), axo_helpers::runner()].map(Helper::digest));

    let mut hasher = Sha256::new_with_prefix(FORMAT);
    for program in &*PROGRAMS {
        hasher.update(program);
    }
    for module in &artifacts.record.modules {
        // Lengths keep one list from being another.
        hasher.update((module.file.len() as u64).to_le_bytes());
        hasher.update(&module.file);
        hasher.update(&module.sha256);
    }
    hex(hasher)
}

fn write(aside: &Aside, artifacts: &Artifacts) -> Result<(), FileError> {
    let mut archive = Archive {
        to: BufWriter::new(aside.file_of()),
        inode: 0,
    };
    let failed = || FileError::at("writing", aside.path());
    for name in DIRECTORIES {
        archive.directory(name).map_err(failed())?;
    }
    archive.console().map_err(failed())?;
    let [agent, runner] = [axo_helpers::guest_agent(), axo_helpers::runner()];
    archive
        .file("init", 0o755, agent.bytes())
        .and_then(|()| archive.file("axo-runner", 0o755, runner.bytes()))
        .map_err(failed())?;
    for path in &artifacts.modules {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = File::open(path)
            .and_then(|module| files::read_to(module, MAX_MODULE_BYTES))
            .map_err(FileError::at("reading", path))?;
        archive
            .file(&format!("modules/{name}"), 0o644, &bytes)
            .map_err(failed())?;
    }
    trailer(archive.to)
        .and_then(|mut to| to.flush())
        .map_err(failed())
}

struct Archive<W: Write> {
    to: BufWriter<W>,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32) -> Builder {
        self.inode += 1;
        Builder::new(name)
            .ino(self.inode)
            .mode(mode)
            .set_mode_file_type(kind)
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        let mode = if name == "tmp" { 0o1777 } else { 0o755 };
        let entry = self.entry(name, ModeFileType::Directory, mode).nlink(2);
        entry.write(&mut self.to, 0).finish().map(drop)
    }

    /// The kernel opens it for the first process.
    fn console(&mut self) -> io::Result<()> {
        let entry = self
            .entry("dev/console", ModeFileType::Char, 0o600)
            .rdev_major(5)
            .rdev_minor(1);
        entry.write(&mut self.to, 0).finish().map(drop)
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let entry = self.entry(name, ModeFileType::Regular, mode);
        let mut file = entry.write(&mut self.to, size);
        file.write_all(bytes)?;
        file.finish().map(drop)
    }
}

#[cfg(test)]
mod tests;
