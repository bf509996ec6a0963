//! A directory with a root file system, packed into a layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};
use tar::{EntryType, Header};

use super::{Import, Stored};
use crate::bounds::MAX_DEPTH;
use crate::{ImageError, Step, blobs, disk};

/// Quick, and half the size of the tar.
const ZSTD_LEVEL: i32 = 1;

/// Packs one directory.
struct Packer<'a, W: Write> {
    builder: tar::Builder<W>,
    /// Files of several names, by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
    left: u64,
    step: &'a dyn Step,
}

enum Failed {
    /// Reading `path`.
    Source(PathBuf, io::Error),
    /// Writing the layer.
    Target(io::Error),
    /// It cannot be an image.
    Refused(PathBuf, &'static str),
    TooLarge,
}

impl Import<'_> {
    pub(super) fn directory(&self) -> Result<Stored, ImageError> {
        let limit = self.store.options.max_unpacked_bytes;
        let packed = self.operation.scratch("layer");
        let step = self.progress.begin("packing the directory", None);
        pack(self.source, &disk::create(&packed)?, limit, &*step).map_err(
            |failed| match failed {
                Failed::Source(path, error) => {
                    ImageError::io("reading", &self.source.join(path))(error)
                }
                Failed::Target(error) => ImageError::io("writing", &packed)(error),
                Failed::Refused(path, problem) => ImageError::malformed(
                    &self.source.join(path).display().to_string(),
                    problem,
                    "remove it, or give a directory without it",
                ),
                Failed::TooLarge => blobs::too_large(self.source, limit),
            },
        )?;
        drop(step);
        let mut file = File::open(&packed).map_err(ImageError::io("opening", &packed))?;
        let step = self.progress.begin("storing the layer", None);
        let (digest, size) = blobs::put_stream(
            &self.store.layout,
            &self.operation,
            &mut file,
            &packed,
            limit,
            None,
            &*step,
        )?;
        drop(step);
        self.one_layer(digest, size)
    }
}

fn pack(source: &Path, target: &File, limit: u64, step: &dyn Step) -> Result<(), Failed> {
    let read = |error: rustix::io::Errno| Failed::Source(PathBuf::new(), error.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(source, flags, Mode::empty()).map_err(read)?;
    let stat = fstat(&root).map_err(read)?;
    let encoder = zstd::Encoder::new(target, ZSTD_LEVEL).map_err(Failed::Target)?;
    let mut packer = Packer {
        builder: tar::Builder::new(encoder),
        linked: HashMap::new(),
        left: limit,
        step,
    };
    packer.add(&stat, EntryType::Directory, Path::new("./"), None)?;
    packer.directory(&root, Path::new(""), 0)?;
    packer
        .builder
        .into_inner()
        .and_then(zstd::Encoder::finish)
        .map_err(Failed::Target)?;
    Ok(())
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), Failed> {
        if depth >= MAX_DEPTH {
            return Err(Failed::Refused(path.to_owned(), "it is too deep"));
        }
        let mut names =
            disk::children(directory).map_err(|e| Failed::Source(path.to_owned(), e))?;
        // The same directory makes the same layer.
        names.sort();
        for name in names {
            self.child(directory, &name, &path.join(&name), depth)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), Failed> {
        let failed = |error: rustix::io::Errno| Failed::Source(path.to_owned(), error.into());
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if name.as_bytes().starts_with(b".wh.") {
            return Err(Failed::Refused(
                path.to_owned(),
                "its name would be taken for a whiteout",
            ));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty()).map_err(failed)?;
                self.add(&stat, EntryType::Directory, path, None)?;
                self.directory(&directory, path, depth + 1)
            }
            FileType::Symlink => {
                let target = readlinkat(parent, name, Vec::new()).map_err(failed)?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                self.add(&stat, EntryType::Symlink, path, Some(target))
            }
            FileType::RegularFile => self.file(parent, name, path),
            FileType::CharacterDevice | FileType::BlockDevice => Err(Failed::Refused(
                path.to_owned(),
                "it is a device node, which no tool may have",
            )),
            // Nobody is at their other end.
            _ => Ok(()),
        }
    }

    fn file(&mut self, parent: impl AsFd, name: &OsStr, path: &Path) -> Result<(), Failed> {
        let failed = |error: io::Error| Failed::Source(path.to_owned(), error);
        // Non-blocking: it may have become a FIFO since we looked.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let stat = fstat(&file).map_err(|e| failed(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("it changed while it was read")));
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&key) {
                let first = first.clone();
                return self.add(&stat, EntryType::Link, path, Some(&first));
            }
            self.linked.insert(key, path.to_owned());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.left = self.left.checked_sub(size).ok_or(Failed::TooLarge)?;
        let mut header = header(&stat, EntryType::Regular);
        header.set_size(size);
        let mut content = Exactly {
            file: File::from(file),
            left: size,
            failed: None,
        };
        let result = self.builder.append_data(&mut header, path, &mut content);
        if let Some(error) = content.failed {
            return Err(failed(error));
        }
        result.map_err(Failed::Target)?;
        self.step.advance(size);
        Ok(())
    }

    fn add(
        &mut self,
        stat: &Stat,
        kind: EntryType,
        path: &Path,
        link: Option<&Path>,
    ) -> Result<(), Failed> {
        let mut header = header(stat, kind);
        match link {
            Some(link) => self.builder.append_link(&mut header, path, link),
            None => self.builder.append_data(&mut header, path, io::empty()),
        }
        .map_err(Failed::Target)
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// A file that must have the size it had when we looked.
struct Exactly {
    file: File,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fail = |this: &mut Self, error: io::Error| {
            let kind = error.kind();
            this.failed = Some(error);
            Err(kind.into())
        };
        if self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        match self.file.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => fail(
                self,
                io::Error::other("it became shorter while it was read"),
            ),
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) => fail(self, error),
        }
    }
}
