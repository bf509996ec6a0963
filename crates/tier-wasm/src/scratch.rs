//! The file system of one call: `/axocoatl` with its input and output, and `/tmp`.
//!
//! Only programs that can open files get one. It is a directory on the host, removed with the call;
//! what is left by a process that dies lies in its owner's directory and is reaped with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use axo_core::OutputFile;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// Name of the input in `/axocoatl`.
pub(crate) const INPUT_FILE: &str = "input.json";
/// Name of the output in `/axocoatl`.
pub(crate) const OUTPUT_FILE: &str = "output.json";

/// Most directories a call may have in its scratch. It bounds how deep they nest, and with it the
/// descriptors that measuring and removing them takes.
pub(crate) const MAX_DIRECTORIES: u64 = 128;
/// Most files a call may have in its scratch.
pub(crate) const MAX_FILES: u64 = 8192;

/// The directories of one call; removed when dropped.
pub(crate) struct Scratch {
    path: PathBuf,
}

/// What is in a scratch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Contents {
    /// Disk space in bytes.
    pub(crate) bytes: u64,
    /// Files, and what else is no directory.
    pub(crate) files: u64,
    /// Directories.
    pub(crate) directories: u64,
}

impl Scratch {
    /// Makes the directories of call `id` beneath `root`, with `input` in them.
    pub(crate) fn create(root: &Path, id: &str, input: &[u8]) -> io::Result<Self> {
        let directory = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        let scratch = Self {
            path: root.join(id),
        };
        directory(&scratch.path)?;
        directory(&scratch.exchange())?;
        directory(&scratch.temporary())?;
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o400);
        io::Write::write_all(
            &mut options.open(scratch.exchange().join(INPUT_FILE))?,
            input,
        )?;
        Ok(scratch)
    }

    /// The directory behind `/axocoatl`.
    pub(crate) fn exchange(&self) -> PathBuf {
        self.path.join("axocoatl")
    }

    /// The directory behind `/tmp`.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// The whole of it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the tool left at `/axocoatl/output.json`, at most `limit` bytes of it. A link, a
    /// device, a FIFO or a directory is refused without being opened for longer than a look.
    pub(crate) fn output(&self, limit: u64) -> io::Result<OutputFile> {
        let directory = rustix::fs::open(
            self.exchange(),
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let refused = |why: &str| Ok(OutputFile::Refused(why.to_owned()));
        let file = match rustix::fs::openat(&directory, OUTPUT_FILE, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(OutputFile::Absent),
            Err(rustix::io::Errno::LOOP) => return refused("it is a symbolic link"),
            Err(e) => return Err(e.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return refused("it is not a regular file");
        }
        if metadata.nlink() != 1 {
            return refused("it has other names (hard links)");
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Ok(OutputFile::Refused(format!(
                "it has more than {limit} bytes (limits.output)"
            )));
        }
        Ok(OutputFile::Read(bytes))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "scratch not removed; the next start reaps it");
        }
    }
}

/// Measures the tree at `path`, following no link and leaving it nowhere.
pub(crate) fn measure(path: &Path) -> io::Result<Contents> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let mut contents = Contents::default();
    measure_into(root.as_fd(), &mut contents)?;
    Ok(contents)
}

/// Recurses at most [`MAX_DIRECTORIES`] deep, as more cannot be made.
fn measure_into(directory: BorrowedFd<'_>, contents: &mut Contents) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // st_blocks counts 512-byte units whatever the file system's own block is (POSIX stat.h).
        contents.bytes += u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            contents.directories += 1;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            measure_into(inner.as_fd(), contents)?;
        } else {
            contents.files += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Scratch) {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(root.path(), "call", b"{}").unwrap();
        (root, scratch)
    }

    #[test]
    fn only_a_plain_small_file_is_an_output() {
        let (root, scratch) = scratch();
        let path = scratch.exchange().join(OUTPUT_FILE);
        let refused = |what: &str| {
            let output = scratch.output(10).unwrap();
            assert!(
                matches!(output, OutputFile::Refused(_)),
                "{what}: {output:?}"
            );
        };
        assert_eq!(scratch.output(10).unwrap(), OutputFile::Absent);
        std::fs::write(&path, b"0123456789").unwrap();
        assert_eq!(
            scratch.output(10).unwrap(),
            OutputFile::Read(b"0123456789".to_vec())
        );
        refused_after(&path, || std::fs::write(&path, b"01234567890").unwrap());
        refused("too large");
        refused_after(&path, || std::fs::create_dir(&path).unwrap());
        refused("a directory");
        std::fs::remove_dir(&path).unwrap();
        refused_after(&path, || {
            std::os::unix::fs::symlink("/etc/hostname", &path).unwrap()
        });
        refused("a link");
        refused_after(&path, || {
            std::os::unix::fs::symlink("nowhere", &path).unwrap()
        });
        refused("a dangling link");
        refused_after(&path, || {
            std::fs::write(root.path().join("other"), b"1").unwrap();
            std::fs::hard_link(root.path().join("other"), &path).unwrap();
        });
        refused("a hard link");
        refused_after(&path, || {
            rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        });
        refused("a FIFO");
        refused_after(&path, || {
            File::create(&path).unwrap().set_len(1 << 40).unwrap()
        });
        refused("a sparse giant");
    }

    fn refused_after(path: &Path, make: impl FnOnce()) {
        let _ = std::fs::remove_file(path);
        make();
    }

    #[test]
    fn nothing_is_left_and_links_are_not_followed() {
        let (root, scratch) = scratch();
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink(&outside, scratch.temporary().join("link")).unwrap();
        std::fs::write(scratch.temporary().join("a"), vec![1; 8192]).unwrap();
        let contents = measure(scratch.path()).unwrap();
        assert_eq!((contents.directories, contents.files), (2, 3));
        assert!((8192..100_000).contains(&contents.bytes), "{contents:?}");
        drop(scratch);
        assert!(!root.path().join("call").exists());
        assert!(outside.join("precious").exists());
    }
}
