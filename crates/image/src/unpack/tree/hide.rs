//! What whiteouts do.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use super::{Problem, Tree};
use crate::disk;

impl Tree {
    /// Removes a name of lower layers.
    pub(in crate::unpack) fn hide(&mut self, parent: &OsStr, name: &[u8]) -> Result<(), Problem> {
        let Some(directory) = self.existing(parent)? else {
            return Ok(());
        };
        self.last = None;
        self.prune(&directory, OsStr::from_bytes(name))?;
        Ok(())
    }

    /// Removes everything of lower layers in a directory.
    pub(in crate::unpack) fn hide_all(&mut self, parent: &OsStr) -> Result<(), Problem> {
        let Some(directory) = self.existing(parent)? else {
            return Ok(());
        };
        self.last = None;
        let listing = openat(
            &directory,
            ".",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        for name in disk::children(&listing)? {
            self.prune(&directory, &name)?;
        }
        Ok(())
    }

    /// Removes what the current layer did not make. A directory stays if something in it does.
    fn prune(&self, parent: &impl AsFd, name: &OsStr) -> Result<(), Problem> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let ours = self.of_layer.contains(&stat.st_ino);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if !ours {
                unlinkat(parent, name, AtFlags::empty())?;
            }
            return Ok(());
        }
        let directory = disk::open_dir_at(parent, name)?;
        for child in disk::children(&directory)? {
            self.prune(&directory, &child)?;
        }
        if !ours {
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOTEMPTY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
