//! Copies out of a session.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use axo_guest_proto::Code;
use axo_guest_proto::files::{Entry, FileKind, Stat};
use rustix::fs::{AtFlags, Mode, OFlags, unlinkat};

use super::bounded::Bounded;
use super::place::{HostPlace, beneath, host, open_directory, split};
use super::{Copied, CopyError, CopyLimits, CopyProgress, bytes};
use crate::agent::{AgentError, Files};

/// What a file, directory or link takes of this host's disk whatever is in it, in bytes.
const BLOCK: u64 = 4096;

/// How many directories what comes out is in, if nobody asked for it by name: it is removed one directory
/// in another, each open, and a process has some thousand descriptors.
const MAX_DEPTH: usize = 256;

impl Files {
    /// Copies `from` of the session to `to` on this host, which must not be there yet. Symbolic links
    /// are copied as links, whatever they lead to; set-ID bits are not copied. What is nothing but zeros
    /// takes no room.
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
        let outward = Outward::new(self, limits, false, progress);
        outward.run(from, &parent, &name).await
    }

    /// The same to a name in an open directory, while others change what is copied: what has gone since
    /// it was listed is left out, and so is what cannot be read or is too deep, which
    /// [`Copied::unread`] names.
    pub(crate) async fn copy_out_to(
        &self,
        from: &Path,
        (parent, name): (&HostPlace, &OsStr),
        limits: CopyLimits,
        progress: &mut dyn CopyProgress,
    ) -> Result<Copied, CopyError> {
        let outward = Outward::new(self, limits, true, progress);
        outward.run(from, parent, name).await
    }
}

/// A copy that is being made.
struct Outward<'a> {
    files: &'a Files,
    limits: CopyLimits,
    /// Whether one odd file does not end all of it.
    lenient: bool,
    progress: &'a mut dyn CopyProgress,
    copied: Copied,
    /// Of directories, which get them when they are full.
    modes: Vec<(PathBuf, u32)>,
    /// Of paths and of what links lead to.
    path_bytes: u64,
    /// Of files, those that were left out in the middle, too, and of them on this host's disk.
    taken: u64,
    stored: u64,
}

/// What became of something that was listed, and cannot be read.
enum Odd {
    Gone,
    Unread,
}

impl<'a> Outward<'a> {
    fn new(
        files: &'a Files,
        limits: CopyLimits,
        lenient: bool,
        progress: &'a mut dyn CopyProgress,
    ) -> Self {
        Self {
            files,
            limits,
            lenient,
            progress,
            copied: Copied::default(),
            modes: Vec::new(),
            path_bytes: 0,
            taken: 0,
            stored: 0,
        }
    }

    async fn run(
        mut self,
        from: &Path,
        parent: &HostPlace,
        name: &OsStr,
    ) -> Result<Copied, CopyError> {
        let files = self.files;
        let stat = files.ours(from, files.stat(bytes(from), false).await)?;
        match stat.kind {
            FileKind::File => {
                self.file(from, parent, name, &stat).await?;
                self.progress.copied(&self.copied);
            }
            FileKind::Directory => {
                make_directory(parent, name)?;
                self.copied.directories += 1;
                let top = HostPlace {
                    directory: open_directory(parent, name)?,
                    shown: parent.shown.join(name),
                };
                self.directory(from, &top, stat.mode).await?;
                for (path, mode) in self.modes.into_iter().rev() {
                    set_mode(&top, &path, mode)?;
                }
            }
            _ => return Err(CopyError::NotCopied(from.to_owned())),
        }
        Ok(self.copied)
    }

    /// Everything beneath a directory, one level at a time.
    async fn directory(
        &mut self,
        from: &Path,
        top: &HostPlace,
        mode: u32,
    ) -> Result<(), CopyError> {
        let mut stack = vec![(PathBuf::new(), mode)];
        while let Some((below, mode)) = stack.pop() {
            let source = from.join(&below);
            let left = self.limits.entries.saturating_sub(self.copied.entries());
            let listing = match self.files.list(bytes(&source), 1, left).await {
                Err(error) if !below.as_os_str().is_empty() => {
                    self.no_directory(top, &below, &source, error)?;
                    continue;
                }
                listing => self.files.ours(&source, listing)?,
            };
            if listing.more {
                return Err(self.too_much());
            }
            let parent = HostPlace {
                directory: beneath(top, &below)?,
                shown: top.shown.join(&below),
            };
            for Entry { path, stat } in listing.entries {
                let name = component(&path)?;
                let (path, source) = (below.join(name), source.join(name));
                self.count(&path, &stat)?;
                match stat.kind {
                    FileKind::Directory
                        if self.lenient && path.components().count() > MAX_DEPTH =>
                    {
                        self.copied.unread.push(source);
                    }
                    FileKind::Directory => {
                        make_directory(&parent, name)?;
                        self.copied.directories += 1;
                        stack.push((path, stat.mode));
                    }
                    FileKind::Link => {
                        let target = stat.target.as_deref().unwrap_or_default();
                        let made = rustix::fs::symlinkat(
                            OsStr::from_bytes(target),
                            &parent.directory,
                            name,
                        );
                        host(&parent.shown.join(name), made.map_err(Into::into))?;
                        self.copied.links += 1;
                    }
                    FileKind::File => self.file(&source, &parent, name, &stat).await?,
                    _ => self.copied.skipped.push(source),
                }
                if self.copied.entries() > self.limits.entries {
                    return Err(self.too_much());
                }
                self.progress.copied(&self.copied);
            }
            self.modes.push((below, mode));
        }
        Ok(())
    }

    /// What anything costs that was listed, whatever it is.
    fn count(&mut self, path: &Path, stat: &Stat) -> Result<(), CopyError> {
        let target = stat.target.as_ref().map_or(0, Vec::len);
        self.path_bytes += (bytes(path).len() + target) as u64;
        self.stored = self.stored.saturating_add(BLOCK);
        if self.path_bytes > self.limits.path_bytes || self.stored > self.limits.stored {
            return Err(self.too_much());
        }
        Ok(())
    }

    /// A directory that was made here, and is not to be had.
    fn no_directory(
        &mut self,
        top: &HostPlace,
        below: &Path,
        source: &Path,
        error: AgentError,
    ) -> Result<(), CopyError> {
        match self.odd(&error) {
            Some(Odd::Unread) => self.copied.unread.push(source.to_owned()),
            Some(Odd::Gone) => {
                let removed = unlinkat(&top.directory, below, AtFlags::REMOVEDIR);
                host(&top.shown.join(below), removed.map_err(Into::into))?;
                self.copied.directories -= 1;
            }
            None => return self.files.ours(source, Err(error)),
        }
        Ok(())
    }

    async fn file(
        &mut self,
        from: &Path,
        parent: &HostPlace,
        name: &OsStr,
        stat: &Stat,
    ) -> Result<(), CopyError> {
        if self.lenient && stat.size > self.limits.bytes {
            self.copied.unread.push(from.to_owned());
            return Ok(());
        }
        let shown = parent.shown.join(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(stat.mode & 0o777);
        let file = rustix::fs::openat(&parent.directory, name, flags, mode);
        let file = File::from(host(&shown, file.map_err(Into::into))?);
        let bytes_left = self.limits.bytes.saturating_sub(self.taken);
        let stored_left = self.limits.stored.saturating_sub(self.stored);
        let mut bounded = Bounded::new(file, bytes_left, stored_left);
        let read = self.files.read(bytes(from), true, &mut bounded).await;
        if bounded.is_full() && read.is_err() {
            return Err(self.too_much());
        }
        self.taken = self.taken.saturating_add(bounded.taken());
        self.stored = self.stored.saturating_add(bounded.stored());
        if let Err(error) = read {
            match self.odd(&error) {
                Some(Odd::Unread) => self.copied.unread.push(from.to_owned()),
                Some(Odd::Gone) => {}
                None => return self.files.ours(from, Err(error)),
            }
            // What came of it is no file of the session's.
            let removed = unlinkat(&parent.directory, name, AtFlags::empty());
            return host(&shown, removed.map_err(Into::into));
        }
        self.copied.bytes += host(&shown, bounded.finish().await)?;
        self.copied.files += 1;
        Ok(())
    }

    /// What a failure says of the one thing it is about; none if it is not about that alone.
    fn odd(&self, error: &AgentError) -> Option<Odd> {
        let long = |error: &AgentError| matches!(error, AgentError::Request(_));
        match error.code() {
            _ if !self.lenient => None,
            Some(Code::NotFound) => Some(Odd::Gone),
            // The last is more than an agent's files or memory for now.
            Some(
                Code::Denied
                | Code::Outside
                | Code::NotDirectory
                | Code::NotFile
                | Code::Invalid
                | Code::Io
                | Code::Limit,
            ) => Some(Odd::Unread),
            // Its path is longer than one can be asked for.
            None if long(error) => Some(Odd::Unread),
            _ => None,
        }
    }

    const fn too_much(&self) -> CopyError {
        CopyError::TooMuch(self.limits)
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
