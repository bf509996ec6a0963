//! Copies into a session.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use axo_guest_proto::files::How;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::place::{HostPlace, beneath, enter, host, names, open_directory, split};
use super::{Copied, CopyError, CopyProgress, bytes};
use crate::agent::Files;

/// How a copy is made in which somebody takes a directory into a session, to bring it back.
#[derive(Clone, Copy)]
pub(crate) struct Inward {
    /// Bits that modes have in the session at least.
    pub(crate) file_mode: u32,
    pub(crate) directory_mode: u32,
    /// What is none of the directory's, by its name, if it is a file or a link.
    pub(crate) left_out: fn(&OsStr) -> bool,
}

impl Default for Inward {
    /// As it is.
    fn default() -> Self {
        Self {
            file_mode: 0,
            directory_mode: 0,
            left_out: |_| false,
        }
    }
}

/// What an entry of a directory came to.
enum Found {
    Copied,
    Directory,
    Other,
    LeftOut,
}

impl Files {
    /// Copies `from` of this host to `to` in the session, which must not be there yet unless both
    /// are files. Symbolic links are copied as links.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn copy_in(
        &self,
        from: &Path,
        to: &Path,
        progress: &mut dyn CopyProgress,
    ) -> Result<Copied, CopyError> {
        let Some(name) = from.file_name() else {
            let mut copied = Copied::default();
            let entered = enter(from, self.writable())?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&entered, ".", flags, Mode::empty());
            let top = HostPlace {
                directory: host(from, opened.map_err(Into::into))?,
                shown: from.to_owned(),
            };
            self.directory_in(top, to, Inward::default(), &mut copied, progress)
                .await?;
            return Ok(copied);
        };
        let (parent, _) = split(from, self.writable())?;
        self.copy_in_from(&parent, name, to, Inward::default(), progress)
            .await
    }

    /// The same with a name in an open directory. No path is resolved: whatever becomes of the way to
    /// that directory, it is what is in it that is copied.
    pub(crate) async fn copy_in_from(
        &self,
        parent: &HostPlace,
        name: &OsStr,
        to: &Path,
        how: Inward,
        progress: &mut dyn CopyProgress,
    ) -> Result<Copied, CopyError> {
        let mut copied = Copied::default();
        let shown = parent.shown.join(name);
        match self.entry_in(parent, name, to, how, &mut copied).await? {
            Found::Directory => {
                let top = HostPlace {
                    directory: open_directory(parent, name)?,
                    shown,
                };
                self.directory_in(top, to, how, &mut copied, progress)
                    .await?;
            }
            Found::Other => return Err(CopyError::NotCopied(shown)),
            Found::Copied => progress.copied(&copied),
            Found::LeftOut => {}
        }
        Ok(copied)
    }

    /// Everything beneath a directory of this host. Somebody hostile may change it meanwhile: each
    /// step is from the open directory, and no link is followed.
    async fn directory_in(
        &self,
        top: HostPlace,
        to: &Path,
        how: Inward,
        copied: &mut Copied,
        progress: &mut dyn CopyProgress,
    ) -> Result<(), CopyError> {
        // What a directory's mode forbids us is set after it is filled.
        let mut modes = Vec::new();
        let mut stack = vec![PathBuf::new()];
        while let Some(below) = stack.pop() {
            let here = HostPlace {
                directory: beneath(&top, &below)?,
                shown: top.shown.join(&below),
            };
            let there = match below.as_os_str().is_empty() {
                true => to.to_owned(),
                false => to.join(&below),
            };
            let stat = rustix::fs::fstat(&here.directory);
            let stat = host(&here.shown, stat.map_err(Into::into))?;
            self.ours(
                &there,
                self.make_directory(bytes(&there), 0o700, false).await,
            )?;
            modes.push((there.clone(), stat.st_mode & 0o777 | how.directory_mode));
            copied.directories += 1;
            progress.copied(copied);
            for name in names(&here)? {
                match self
                    .entry_in(&here, &name, &there.join(&name), how, copied)
                    .await?
                {
                    Found::Directory => stack.push(below.join(&name)),
                    Found::Other => copied.skipped.push(here.shown.join(&name)),
                    Found::Copied => progress.copied(copied),
                    Found::LeftOut => {}
                }
            }
        }
        for (path, mode) in modes.into_iter().rev() {
            self.ours(&path, self.set_mode(bytes(&path), mode).await)?;
        }
        Ok(())
    }

    /// One entry of a directory of this host, if it is a file or a link.
    async fn entry_in(
        &self,
        parent: &HostPlace,
        name: &OsStr,
        to: &Path,
        how: Inward,
        copied: &mut Copied,
    ) -> Result<Found, CopyError> {
        let shown = parent.shown.join(name);
        let stat = rustix::fs::statat(&parent.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = host(&shown, stat.map_err(Into::into))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Found::Directory),
            FileType::Symlink | FileType::RegularFile if (how.left_out)(name) => {
                return Ok(Found::LeftOut);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent.directory, name, Vec::new());
                let target = host(&shown, target.map_err(Into::into))?;
                self.ours(to, self.make_link(bytes(to), target.as_bytes()).await)?;
                copied.links += 1;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let opened = rustix::fs::openat(&parent.directory, name, flags, Mode::empty());
                let file = File::from(host(&shown, opened.map_err(Into::into))?);
                // It may be another than the one that was looked at.
                let metadata = host(&shown, file.metadata())?;
                if !metadata.is_file() {
                    return Ok(Found::Other);
                }
                let mode = permissions(&metadata) | how.file_mode;
                let mut reader = tokio::fs::File::from_std(file);
                let sent = self
                    .write(bytes(to), How::Replace, Some(mode), &mut reader)
                    .await;
                copied.bytes += self.ours(to, sent)?;
                copied.files += 1;
            }
            _ => return Ok(Found::Other),
        }
        Ok(Found::Copied)
    }
}

fn permissions(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o777
}
