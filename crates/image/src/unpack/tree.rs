//! The growing root file system, reached only through descriptors beneath its root.

mod finish;
mod hide;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chownat, fchmod, fchown, fstat, futimens,
    linkat, mkdirat, openat, openat2, statat, symlinkat,
};
use rustix::io::Errno;

use super::attributes::{Attributes, Ownership};
use super::entry_path::EntryPath;
use crate::bounds::{MAX_DEPTH, MAX_PATH_BYTES};
use crate::{ImageError, disk};

/// Why an entry could not be unpacked.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is never unpacked.
    Refused(String),
    /// It is a device.
    Device,
    /// Its bytes end early or make no sense.
    Read(io::Error),
    /// The host failed.
    Host(io::Error),
}

impl Problem {
    pub(super) fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl From<Errno> for Problem {
    fn from(error: Errno) -> Self {
        Self::Host(error.into())
    }
}

/// What a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Absent,
    Directory,
    Symlink,
    Other,
}

struct Directory {
    attributes: Attributes,
    /// How deep it is below the root: a path may be short and, through symlinks, lead deep.
    depth: usize,
}

/// A root file system being built. While it grows, its directories are open to us alone.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    ownership: Ownership,
    /// Every directory, by inode.
    directories: HashMap<u64, Directory>,
    /// Inodes that the current layer made or described. An inode number that is used again was
    /// freed and so is made by this layer too.
    of_layer: HashSet<u64>,
    /// The directory of the last entry: the next is mostly in the same one.
    last: Option<(OsString, Rc<OwnedFd>)>,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Result<Self, ImageError> {
        disk::private_dir(root)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || -> io::Result<(OwnedFd, u64)> {
            let fd = openat(CWD, root, flags, Mode::empty())?;
            let inode = fstat(&fd)?.st_ino;
            Ok((fd, inode))
        };
        let (fd, inode) = open().map_err(ImageError::io("opening", root))?;
        let top = Directory {
            attributes: Attributes::plain(0o755),
            depth: 0,
        };
        Ok(Self {
            root: Rc::new(fd),
            ownership: Ownership::of_process(),
            directories: HashMap::from([(inode, top)]),
            of_layer: HashSet::new(),
            last: None,
        })
    }

    pub(super) fn begin_layer(&mut self) {
        self.of_layer.clear();
    }

    /// What the layer says about the root itself.
    pub(super) fn root_attributes(&mut self, attributes: &Attributes) -> io::Result<()> {
        let inode = fstat(&*self.root)?.st_ino;
        if let Some(root) = self.directories.get_mut(&inode) {
            root.attributes = *attributes;
        }
        Ok(())
    }

    pub(super) fn directory(
        &mut self,
        parent: &OsStr,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<(), Problem> {
        let parent = self.parent(parent)?;
        let inode = match kind_at(&parent, name)? {
            // What is in it stays: layers add to each other.
            Kind::Directory => inode_at(&parent, name)?,
            Kind::Absent => self.make_directory(&parent, name)?,
            Kind::Symlink | Kind::Other => {
                self.clear(&parent, name)?;
                self.make_directory(&parent, name)?
            }
        };
        self.of_layer.insert(inode);
        if let Some(directory) = self.directories.get_mut(&inode) {
            directory.attributes = *attributes;
        }
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        parent: &OsStr,
        name: &OsStr,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> Result<(), Problem> {
        let parent = self.parent(parent)?;
        self.clear(&parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&*parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        copy(content, &mut file)?;
        if self.ownership == Ownership::Recorded {
            let (uid, gid) = attributes.owner();
            fchown(&file, uid, gid)?;
        }
        fchmod(&file, attributes.file_mode(self.ownership))?;
        futimens(&file, &attributes.times())?;
        self.of_layer.insert(fstat(&file)?.st_ino);
        Ok(())
    }

    pub(super) fn symlink(
        &mut self,
        parent: &OsStr,
        name: &OsStr,
        target: &[u8],
        attributes: &Attributes,
    ) -> Result<(), Problem> {
        if target.len() >= MAX_PATH_BYTES || target.contains(&0) {
            return Err(Problem::refused("a symlink that Linux cannot have"));
        }
        let parent = self.parent(parent)?;
        self.clear(&parent, name)?;
        // Where it leads is nobody's business until somebody follows it, which nobody does
        // outside of the root.
        symlinkat(OsStr::from_bytes(target), &*parent, name)?;
        if self.ownership == Ownership::Recorded {
            let (uid, gid) = attributes.owner();
            chownat(&*parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.of_layer.insert(inode_at(&parent, name)?);
        Ok(())
    }

    pub(super) fn hard_link(
        &mut self,
        parent: &OsStr,
        name: &OsStr,
        target: &EntryPath,
    ) -> Result<(), Problem> {
        let Some(target_name) = target.name.as_deref() else {
            return Err(Problem::refused("a hard link to the root"));
        };
        let gone = || Problem::refused("a hard link to a file that is not in the image");
        let from = match self.open(&target.parent) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(gone()),
            Err(error) => return Err(error.into()),
        };
        match kind_at(&from, target_name)? {
            Kind::Absent => return Err(gone()),
            Kind::Directory => return Err(Problem::refused("a hard link to a directory")),
            Kind::Symlink | Kind::Other => {}
        }
        let parent = self.parent(parent)?;
        let inode = inode_at(&from, target_name)?;
        if kind_at(&parent, name)? != Kind::Absent && inode_at(&parent, name)? == inode {
            // It is that file already; removing it first could remove the last name.
            return Ok(());
        }
        self.clear(&parent, name)?;
        // Clearing may have removed what the target was below.
        match linkat(&from, target_name, &*parent, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(gone()),
            Err(error) => return Err(error.into()),
        }
        self.of_layer.insert(inode);
        Ok(())
    }

    /// What a name in the root is.
    pub(super) fn kind(&self, name: &OsStr) -> io::Result<Kind> {
        kind_at(&self.root, name)
    }

    /// Makes a directory in the root.
    pub(super) fn directory_in_root(
        &mut self,
        name: &OsStr,
        attributes: &Attributes,
    ) -> io::Result<()> {
        mkdirat(&*self.root, name, Mode::RWXU)?;
        let inode = inode_at(&self.root, name)?;
        let directory = Directory {
            attributes: *attributes,
            depth: 1,
        };
        self.directories.insert(inode, directory);
        Ok(())
    }

    /// Resolves a directory as if the root were `/`: symlinks, `..` in them and absolute ones stay
    /// beneath it, because the kernel does it.
    fn open(&self, path: &OsStr) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() {
            OsStr::new(".")
        } else {
            path
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(&*self.root, path, flags, Mode::empty(), resolve) {
                // Something was renamed while `..` was followed. Nobody does that here, but the
                // kernel looks at the whole system.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// A directory that may be absent.
    fn existing(&self, path: &OsStr) -> Result<Option<OwnedFd>, Problem> {
        match self.open(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory, made with those above it where absent.
    fn parent(&mut self, path: &OsStr) -> Result<Rc<OwnedFd>, Problem> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = match self.open(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => self.make_path(path)?,
            Err(error) => return Err(unreachable_parent(error)),
        };
        let directory = Rc::new(directory);
        self.last = Some((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    fn make_path(&mut self, path: &OsStr) -> Result<OwnedFd, Problem> {
        let mut directory = self.open(OsStr::new(""))?;
        let mut length = 0;
        for component in path.as_bytes().split(|byte| *byte == b'/') {
            length += component.len();
            let upto = OsStr::from_bytes(path.as_bytes().get(..length).unwrap_or_default());
            length += 1;
            directory = match self.open(upto) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    self.make_directory(&directory, OsStr::from_bytes(component))?;
                    self.open(upto).map_err(unreachable_parent)?
                }
                Err(error) => return Err(unreachable_parent(error)),
            };
        }
        Ok(directory)
    }

    fn make_directory(&mut self, parent: &impl AsFd, name: &OsStr) -> Result<u64, Problem> {
        let above = fstat(parent)?.st_ino;
        let depth = self.directories.get(&above).map_or(0, |above| above.depth) + 1;
        if depth > MAX_DEPTH {
            return Err(Problem::refused("a directory that is too deep"));
        }
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            // There is something that does not resolve.
            Err(Errno::EXIST) => {
                return Err(Problem::refused("a path through a symlink to nothing"));
            }
            Err(error) => return Err(error.into()),
        }
        let inode = inode_at(parent, name)?;
        let directory = Directory {
            attributes: Attributes::plain(0o755),
            depth,
        };
        self.directories.insert(inode, directory);
        Ok(inode)
    }

    /// Removes whatever has this name.
    fn clear(&mut self, parent: &impl AsFd, name: &OsStr) -> Result<(), Problem> {
        if kind_at(parent, name)? == Kind::Absent {
            return Ok(());
        }
        self.last = None;
        disk::remove_tree_at(parent, name)?;
        Ok(())
    }
}

fn unreachable_parent(error: Errno) -> Problem {
    match error {
        Errno::NOTDIR => Problem::refused("a path through something that is no directory"),
        Errno::LOOP => Problem::refused("a path through symlinks that go in circles"),
        Errno::NAMETOOLONG => Problem::refused("a path that is too long"),
        Errno::NOENT => Problem::refused("a path through a symlink to nothing"),
        Errno::XDEV => Problem::refused("a path out of the image"),
        Errno::NOSYS => Problem::Host(io::ErrorKind::Unsupported.into()),
        other => other.into(),
    }
}

fn kind_at(parent: &impl AsFd, name: &OsStr) -> io::Result<Kind> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        }),
        Err(Errno::NOENT) => Ok(Kind::Absent),
        Err(error) => Err(error.into()),
    }
}

fn inode_at(parent: &impl AsFd, name: &OsStr) -> io::Result<u64> {
    Ok(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
}

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<(), Problem> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::Read(error)),
        }
    }
}
