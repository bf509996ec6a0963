//! A file of a tree, opened when its turn comes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// What is left of the bytes of a tree once somebody wanted more.
const EXHAUSTED: u64 = u64::MAX;

/// Reads `path` beneath `root` from its beginning.
pub(super) struct Lazy<'a> {
    root: BorrowedFd<'a>,
    path: PathBuf,
    file: Option<File>,
    /// What all files of the tree together may still have.
    left: Rc<Cell<u64>>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, path: &Path, left: Rc<Cell<u64>>) -> Self {
        Self {
            root,
            path: path.to_owned(),
            file: None,
            left,
        }
    }

    /// Opens it, whatever was put in its place since the tree was walked.
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(openat2(
            self.root,
            &self.path,
            flags,
            Mode::empty(),
            resolve,
        )?);
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("a file became something else"));
        }
        Ok(file)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => {
                let file = self.open()?;
                self.file.insert(file)
            }
        };
        file.read(buffer)
    }
}

impl Read for Lazy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_some(buffer).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })?;
        match self.left.get().checked_sub(count as u64) {
            Some(left) if !exhausted(&self.left) => self.left.set(left),
            _ => {
                self.left.set(EXHAUSTED);
                return Err(io::Error::other("past the limit"));
            }
        }
        Ok(count)
    }
}

/// Whether somebody wanted more than there was.
pub(super) fn exhausted(left: &Cell<u64>) -> bool {
    left.get() == EXHAUSTED
}
