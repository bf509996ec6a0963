//! A directory tree, packed into a squashfs image.
//!
//! The tree is somebody else's: it is walked and read by descriptors, no link in it is followed, and
//! what it comes to is bounded.

mod file;

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use backhand::compression::{CompressionOptions, Compressor, Lz4};
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::DiskError;
use crate::files::{Aside, FileError};

/// What a tree may come to.
pub(crate) struct Limits {
    /// Bytes of all its files.
    pub(crate) bytes: u64,
    /// Entries in all its directories.
    pub(crate) entries: u64,
    /// Bytes of the paths of all entries: each is kept, twice, until the image is written.
    pub(super) path_bytes: u64,
    /// Different owners and groups. The format has room for 65,535, and writing looks through them for
    /// every entry.
    pub(super) owners: usize,
}

/// What the image store unpacks by default.
pub(crate) const LIMITS: Limits = Limits {
    bytes: 16 << 30,
    entries: 2_000_000,
    path_bytes: 256 << 20,
    owners: 4096,
};

/// How deep directories nest. The walk holds a descriptor per level, and a process may have 1024.
pub(crate) const MAX_DEPTH: usize = 128;

/// Read at once, in bytes: mksquashfs's default. What a guest reads, it decompresses in blocks of it.
const BLOCK_BYTES: u32 = 128 << 10;

/// The length of the image is a multiple of it, in KiB.
const PADDING_KIB: u32 = 4;

/// Permissions that are kept: all but set-user-ID and set-group-ID, as everywhere in the engine.
const KEPT_MODE: u32 = 0o1777;

/// Packs the tree into `aside`.
pub(super) fn pack(tree: BorrowedFd<'_>, aside: &Aside, limits: &Limits) -> Result<(), DiskError> {
    let written = |error: io::Error| FileError::at("writing", aside.path())(error);
    let left = Rc::new(Cell::new(limits.bytes));
    let mut packer = Packer {
        root: tree,
        left: Rc::clone(&left),
        image: image().map_err(|error| written(io_error(error)))?,
        ids: HashSet::new(),
        entries: 0,
        path_bytes: 0,
        limits,
    };
    packer.all()?;
    let result = packer
        .image
        .write(BufWriter::with_capacity(1 << 20, aside.file_of()));
    let (_, length) = result.map_err(|error| match file::exhausted(&left) {
        true => too_large(limits.bytes, "bytes"),
        false => written(io_error(error)).into(),
    })?;
    // A file that was there already is written and then taken back, and may reach beyond the end.
    Ok(aside.file_of().set_len(length).map_err(written)?)
}

fn image<'a>() -> Result<FilesystemWriter<'a, 'a, 'a>, BackhandError> {
    // The version of the format, and "not of high compression".
    let lz4 = Lz4 {
        version: 1,
        flags: 0,
    };
    let mut image = FilesystemWriter::default();
    image.set_compressor(FilesystemCompressor::new(
        Compressor::Lz4,
        Some(CompressionOptions::Lz4(lz4)),
    )?);
    image.set_block_size(BLOCK_BYTES);
    image.set_kib_padding(PADDING_KIB);
    // Files of several names, as busybox's 400, are stored once. Same length and same 64-bit hash count
    // as the same; who could make two of these on purpose could give both the same content as well.
    image.set_no_duplicate_files(true);
    Ok(image)
}

struct Packer<'a> {
    root: BorrowedFd<'a>,
    /// Bytes that files may still have.
    left: Rc<Cell<u64>>,
    image: FilesystemWriter<'a, 'a, 'a>,
    ids: HashSet<u32>,
    entries: u64,
    path_bytes: u64,
    limits: &'a Limits,
}

impl Packer<'_> {
    fn all(&mut self) -> Result<(), DiskError> {
        let root = self.root;
        let stat = fstat(root).map_err(|error| failed(Path::new("."), error))?;
        let header = self.header(&stat)?;
        self.image.set_root_mode(header.permissions);
        self.image.set_root_uid(header.uid);
        self.image.set_root_gid(header.gid);
        let opened =
            open_directory(root, OsStr::new(".")).map_err(|error| failed(Path::new("."), error))?;
        self.directory(&opened, Path::new(""), 0)
    }

    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> Result<(), DiskError> {
        if depth >= MAX_DEPTH {
            return Err(too_deep(path));
        }
        let mut names = names(directory).map_err(|error| failed(path, error))?;
        // The order of the image, in which nothing has to be moved to make room.
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
    ) -> Result<(), DiskError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(too_large(self.limits.entries, "entries"));
        }
        self.path_bytes += path.as_os_str().len() as u64;
        if self.path_bytes > self.limits.path_bytes {
            return Err(too_large(self.limits.path_bytes, "bytes of paths"));
        }
        let stat =
            statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| failed(path, error))?;
        let header = self.header(&stat)?;
        let pushed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.image
                    .push_dir(path, header)
                    .map_err(|error| refused(path, &error.to_string()))?;
                let opened = open_directory(parent, name).map_err(|error| failed(path, error))?;
                return self.directory(&opened, path, depth + 1);
            }
            FileType::RegularFile => {
                let file = file::Lazy::new(self.root, path, Rc::clone(&self.left));
                self.image.push_file(file, path, header)
            }
            FileType::Symlink => {
                let target =
                    readlinkat(parent, name, Vec::new()).map_err(|error| failed(path, error))?;
                let target = OsString::from_vec(target.into_bytes());
                self.image.push_symlink(target, path, header)
            }
            FileType::Fifo => self.image.push_fifo(path, header),
            kind => {
                tracing::debug!(path = %path.display(), ?kind, "left out of the disk");
                Ok(())
            }
        };
        pushed.map_err(|error| refused(path, &error.to_string()))
    }

    fn header(&mut self, stat: &Stat) -> Result<NodeHeader, DiskError> {
        self.ids.extend([stat.st_uid, stat.st_gid]);
        if self.ids.len() > self.limits.owners {
            return Err(too_large(self.limits.owners as u64, "owners"));
        }
        // Times before 1970 and after 2106 do not fit.
        let mtime = stat.st_mtime.clamp(0, i64::from(u32::MAX));
        Ok(NodeHeader {
            permissions: u16::try_from(stat.st_mode & KEPT_MODE).unwrap_or_default(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: u32::try_from(mtime).unwrap_or_default(),
        })
    }
}

pub(crate) fn failed(path: &Path, error: impl Into<io::Error>) -> DiskError {
    refused(path, &error.into().to_string())
}

pub(crate) fn refused(path: &Path, problem: &str) -> DiskError {
    DiskError::Tree {
        path: shown(path),
        problem: problem.to_owned(),
    }
}

pub(crate) fn too_deep(path: &Path) -> DiskError {
    refused(
        path,
        &format!("directories lie deeper than {MAX_DEPTH} in one another"),
    )
}

pub(crate) fn too_large(limit: u64, unit: &'static str) -> DiskError {
    DiskError::TooLarge { limit, unit }
}

/// A path as it may be shown: it is the tree's, and may be long.
fn shown(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.get(..300).unwrap_or(bytes)).into()
}

fn open_directory(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn names(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

fn io_error(error: BackhandError) -> io::Error {
    match error {
        BackhandError::StdIo(error) => error,
        error => io::Error::other(error.to_string()),
    }
}
