//! The end: what was open to us while the tree grew gets the permissions that the image says.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, fchmod, fchown, fstat, futimens};

use super::super::attributes::Ownership;
use super::{Kind, Tree, kind_at};
use crate::disk;

impl Tree {
    /// Gives every directory its owner, permissions and time, and waits for the disk.
    pub(in crate::unpack) fn finish(self) -> io::Result<()> {
        let root = disk::open_dir_at(&*self.root, OsStr::new("."))?;
        self.settle(&root)?;
        if self.ownership == Ownership::Ours {
            // Only who may write to a directory may move it.
            let mode = Mode::from_raw_mode(fstat(&root)?.st_mode & 0o7777);
            fchmod(&root, mode | Mode::RWXU)?;
        }
        rustix::fs::syncfs(&root)?;
        Ok(())
    }

    fn settle(&self, directory: &OwnedFd) -> io::Result<()> {
        for name in disk::children(directory)? {
            if kind_at(directory, &name)? == Kind::Directory {
                self.settle(&disk::open_dir_at(directory, &name)?)?;
            }
        }
        if let Some(known) = self.directories.get(&fstat(directory)?.st_ino) {
            let attributes = &known.attributes;
            if self.ownership == Ownership::Recorded {
                let (uid, gid) = attributes.owner();
                fchown(directory, uid, gid)?;
            }
            fchmod(directory, attributes.directory_mode(self.ownership))?;
            futimens(directory, &attributes.times())?;
        }
        Ok(())
    }
}
