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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_file_became_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("directory")).unwrap();
        fs::write(home.path().join("secret"), "secret").unwrap();
        fs::write(tree.join("directory/file"), "content").unwrap();
        fs::create_dir(home.path().join("other")).unwrap();
        fs::write(home.path().join("other/file"), "secret").unwrap();
        symlink("../secret", tree.join("link")).unwrap();
        symlink("../other", tree.join("elsewhere")).unwrap();
        let root = File::open(&tree).unwrap();
        let read = |path: &str| {
            let left = Rc::new(Cell::new(100));
            let mut text = String::new();
            let mut file = Lazy::new(root.as_fd(), Path::new(path), left);
            file.read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read("directory/file").unwrap(), "content");
        for path in [
            "link",
            "elsewhere/file",
            "../secret",
            "/etc/passwd",
            "directory",
            "absent",
        ] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
        assert!(tree.join("elsewhere/file").exists(), "the link leads there");
    }
}
