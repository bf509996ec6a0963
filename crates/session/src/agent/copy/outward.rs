//! Copies out of a session.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use axo_guest_proto::files::{Entry, FileKind, Stat};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::place::{HostPlace, beneath, host, open_directory, split};
use super::{Copied, CopyError, CopyLimits, CopyProgress, bytes};
use crate::agent::Files;

impl Files {
    /// Copies `from` of the session to `to` on this host, which must not be there yet. Symbolic links
    /// are copied as links, whatever they lead to; set-ID bits are not copied.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn copy_out(
        &self,
        from: &Path,
        to: &Path,
        limits: CopyLimits,
        progress: &mut dyn CopyProgress,
    ) -> Result<Copied, CopyError> {
        let (parent, name) = split(to, self.writable())?;
        self.copy_out_to(from, (&parent, &name), limits, progress)
            .await
    }

    /// The same to a name in an open directory.
    pub(crate) async fn copy_out_to(
        &self,
        from: &Path,
        (parent, name): (&HostPlace, &OsStr),
        limits: CopyLimits,
        progress: &mut dyn CopyProgress,
    ) -> Result<Copied, CopyError> {
        let mut copied = Copied::default();
        let stat = self.ours(from, self.stat(bytes(from), false).await)?;
        match stat.kind {
            FileKind::File => {
                self.file_out(from, parent, name, &stat, limits, &mut copied)
                    .await?;
                progress.copied(&copied);
            }
            FileKind::Directory => {
                make_directory(parent, name)?;
                copied.directories += 1;
                let top = HostPlace {
                    directory: open_directory(parent, name)?,
                    shown: parent.shown.join(name),
                };
                let mut modes = vec![(PathBuf::new(), stat.mode)];
                self.directory_out(from, &top, limits, &mut copied, &mut modes, progress)
                    .await?;
                for (path, mode) in modes.into_iter().rev() {
                    set_mode(&top, &path, mode)?;
                }
            }
            _ => return Err(CopyError::NotCopied(from.to_owned())),
        }
        Ok(copied)
    }

    /// Everything beneath a directory, one level at a time.
    async fn directory_out(
        &self,
        from: &Path,
        top: &HostPlace,
        limits: CopyLimits,
        copied: &mut Copied,
        modes: &mut Vec<(PathBuf, u32)>,
        progress: &mut dyn CopyProgress,
    ) -> Result<(), CopyError> {
        let too_much = || CopyError::TooMuch {
            entries: limits.entries,
            bytes: limits.bytes,
        };
        let mut stack = vec![PathBuf::new()];
        while let Some(below) = stack.pop() {
            let source = from.join(&below);
            let left = limits.entries.saturating_sub(copied.entries());
            let listing = self.ours(&source, self.list(bytes(&source), 1, left).await)?;
            if listing.more {
                return Err(too_much());
            }
            for Entry { path, stat } in listing.entries {
                let name = component(&path)?;
                let (path, source) = (below.join(name), source.join(name));
                let parent = HostPlace {
                    directory: beneath(top, &below)?,
                    shown: top.shown.join(&below),
                };
                match stat.kind {
                    FileKind::Directory => {
                        make_directory(&parent, name)?;
                        modes.push((path.clone(), stat.mode));
                        copied.directories += 1;
                        stack.push(path);
                    }
                    FileKind::Link => {
                        let target = stat.target.as_deref().unwrap_or_default();
                        let made = rustix::fs::symlinkat(
                            OsStr::from_bytes(target),
                            &parent.directory,
                            name,
                        );
                        host(&parent.shown.join(name), made.map_err(Into::into))?;
                        copied.links += 1;
                    }
                    FileKind::File => {
                        self.file_out(&source, &parent, name, &stat, limits, copied)
                            .await?;
                    }
                    _ => copied.skipped.push(source),
                }
                if copied.entries() > limits.entries {
                    return Err(too_much());
                }
                progress.copied(copied);
            }
        }
        Ok(())
    }

    async fn file_out(
        &self,
        from: &Path,
        parent: &HostPlace,
        name: &OsStr,
        stat: &Stat,
        limits: CopyLimits,
        copied: &mut Copied,
    ) -> Result<(), CopyError> {
        let shown = parent.shown.join(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(stat.mode & 0o777);
        let file = rustix::fs::openat(&parent.directory, name, flags, mode);
        let file = File::from(host(&shown, file.map_err(Into::into))?);
        let mut bounded = Bounded {
            to: tokio::fs::File::from_std(file),
            left: limits.bytes.saturating_sub(copied.bytes),
            written: 0,
        };
        let read = self.read(bytes(from), true, &mut bounded).await;
        if bounded.left == 0 && read.is_err() {
            return Err(CopyError::TooMuch {
                entries: limits.entries,
                bytes: limits.bytes,
            });
        }
        self.ours(from, read)?;
        copied.bytes += bounded.written;
        copied.files += 1;
        Ok(())
    }
}

/// Takes so many bytes and then fails: a session could send without end.
struct Bounded {
    to: tokio::fs::File,
    left: u64,
    written: u64,
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            self.left = 0;
            return std::task::Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let this = &mut *self;
        let written =
            std::task::ready!(std::pin::Pin::new(&mut this.to).poll_write(context, bytes))?;
        this.left -= written as u64;
        this.written += written as u64;
        std::task::Poll::Ready(Ok(written))
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.to).poll_shutdown(context)
    }
}

/// One component and nothing else.
fn component(name: &[u8]) -> Result<&OsStr, CopyError> {
    let bad = name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&b'/')
        || name.contains(&0);
    match bad {
        true => Err(CopyError::BadName(PathBuf::from(OsStr::from_bytes(name)))),
        false => Ok(OsStr::from_bytes(name)),
    }
}

fn make_directory(parent: &HostPlace, name: &OsStr) -> Result<(), CopyError> {
    let made = rustix::fs::mkdirat(&parent.directory, name, Mode::RWXU);
    host(&parent.shown.join(name), made.map_err(Into::into))
}

fn set_mode(top: &HostPlace, path: &Path, mode: u32) -> Result<(), CopyError> {
    let directory = beneath(top, path)?;
    let set = rustix::fs::chmodat(
        &directory,
        ".",
        Mode::from_raw_mode(mode & 0o777),
        AtFlags::empty(),
    );
    host(&top.shown.join(path), set.map_err(Into::into))
}
