//! Copying files and directories between this host and a session, both ways.
//!
//! What comes out is hostile: names are single components, links are made and never followed, and
//! the tree is written beneath an open directory that nothing of it can leave. So is what goes in, where
//! the session can write there: it is read beneath an open directory, too.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use axo_guest_proto::files::{Entry, FileKind, How, Stat};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

use super::{AgentError, Files};

/// How much a copy out of a session may bring.
#[derive(Clone, Copy, Debug)]
pub struct CopyLimits {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for CopyLimits {
    /// A million entries, 64 GiB.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 64 << 30,
        }
    }
}

/// What a copy has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Paths of what is none of these, and was left out.
    pub skipped: Vec<PathBuf>,
}

impl Copied {
    /// All that was met, what was left out too.
    fn entries(&self) -> u64 {
        self.files + self.directories + self.links + self.skipped.len() as u64
    }
}

/// Hears how far a copy is.
pub trait CopyProgress: Send {
    /// After each file, and in between for large ones.
    fn copied(&mut self, so_far: &Copied);
}

impl<F: FnMut(&Copied) + Send> CopyProgress for F {
    fn copied(&mut self, so_far: &Copied) {
        self(so_far);
    }
}

/// Why a copy failed. What was copied before stays.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The session's side.
    #[error("{} in the session", .path.display())]
    Session {
        /// In the session.
        path: PathBuf,
        /// Why.
        source: AgentError,
    },
    /// Our side.
    #[error("{} on this host", .path.display())]
    Host {
        /// On this host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that no file can have.
    #[error("the session lists a file {0:?}, which is no path beneath its directory")]
    BadName(PathBuf),
    /// A target of this host that names nothing.
    #[error("{0} of this host does not name what is to be made: write ./NAME")]
    NoName(PathBuf),
    /// More than allowed.
    #[error("there is more than {entries} entries or {bytes} bytes to copy: copy less at a time")]
    TooMuch {
        /// Entries allowed.
        entries: u64,
        /// Bytes allowed.
        bytes: u64,
    },
    /// Neither file, directory nor link.
    #[error("{0} is neither a file nor a directory")]
    NotCopied(PathBuf),
}

/// A directory or file of this host, as an open descriptor and a name in it.
struct HostPlace {
    directory: OwnedFd,
    shown: PathBuf,
}

/// What an entry of a directory came to.
enum Found {
    Copied,
    Directory,
    Other,
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
        let mut copied = Copied::default();
        let Some(name) = from.file_name() else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(CWD, from, flags, Mode::empty());
            let top = HostPlace {
                directory: host(from, opened.map_err(Into::into))?,
                shown: from.to_owned(),
            };
            self.directory_in(top, to, &mut copied, progress).await?;
            return Ok(copied);
        };
        let (parent, _) = split(from)?;
        match self.entry_in(&parent, name, to, &mut copied).await? {
            Found::Directory => {
                let top = HostPlace {
                    directory: open_directory(&parent, name)?,
                    shown: from.to_owned(),
                };
                self.directory_in(top, to, &mut copied, progress).await?;
            }
            Found::Other => return Err(CopyError::NotCopied(from.to_owned())),
            Found::Copied => progress.copied(&copied),
        }
        Ok(copied)
    }

    /// Everything beneath a directory of this host. Somebody hostile may change it meanwhile: each
    /// step is from the open directory, and no link is followed.
    async fn directory_in(
        &self,
        top: HostPlace,
        to: &Path,
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
            modes.push((there.clone(), stat.st_mode & 0o777));
            copied.directories += 1;
            progress.copied(copied);
            for name in names(&here)? {
                match self
                    .entry_in(&here, &name, &there.join(&name), copied)
                    .await?
                {
                    Found::Directory => stack.push(below.join(&name)),
                    Found::Other => copied.skipped.push(here.shown.join(&name)),
                    Found::Copied => progress.copied(copied),
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
        copied: &mut Copied,
    ) -> Result<Found, CopyError> {
        let shown = parent.shown.join(name);
        let stat = rustix::fs::statat(&parent.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = host(&shown, stat.map_err(Into::into))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Found::Directory),
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
                let mode = permissions(&metadata);
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
        let mut copied = Copied::default();
        let stat = self.ours(from, self.stat(bytes(from), false).await)?;
        let (parent, name) = split(to)?;
        match stat.kind {
            FileKind::File => {
                self.file_out(from, &parent, &name, &stat, limits, &mut copied)
                    .await?;
                progress.copied(&copied);
            }
            FileKind::Directory => {
                make_directory(&parent, &name)?;
                copied.directories += 1;
                let top = HostPlace {
                    directory: open_directory(&parent, &name)?,
                    shown: to.to_owned(),
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

    fn ours<T>(&self, path: &Path, result: Result<T, AgentError>) -> Result<T, CopyError> {
        result.map_err(|source| CopyError::Session {
            path: Path::new(OsStr::from_bytes(self.root())).join(path),
            source,
        })
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

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn host<T>(path: &Path, result: io::Result<T>) -> Result<T, CopyError> {
    result.map_err(|source| CopyError::Host {
        path: path.to_owned(),
        source,
    })
}

fn permissions(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o777
}

/// What is in an open directory of this host.
fn names(place: &HostPlace) -> Result<Vec<std::ffi::OsString>, CopyError> {
    let mut names = Vec::new();
    let opened = rustix::fs::Dir::read_from(&place.directory);
    for entry in host(&place.shown, opened.map_err(Into::into))? {
        let entry = host(&place.shown, entry.map_err(Into::into))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
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

/// The directory that `path` is to be made in, opened, and its name there.
fn split(path: &Path) -> Result<(HostPlace, std::ffi::OsString), CopyError> {
    let name = path
        .file_name()
        .ok_or_else(|| CopyError::NoName(path.to_owned()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, parent, flags, Mode::empty());
    Ok((
        HostPlace {
            directory: host(parent, directory.map_err(Into::into))?,
            shown: parent.to_owned(),
        },
        name.to_owned(),
    ))
}

fn make_directory(parent: &HostPlace, name: &OsStr) -> Result<(), CopyError> {
    let made = rustix::fs::mkdirat(&parent.directory, name, Mode::RWXU);
    host(&parent.shown.join(name), made.map_err(Into::into))
}

fn open_directory(parent: &HostPlace, name: &OsStr) -> Result<OwnedFd, CopyError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&parent.directory, name, flags, Mode::empty());
    host(&parent.shown.join(name), opened.map_err(Into::into))
}

/// A directory made before, opened such that no link leads away from the top.
fn beneath(top: &HostPlace, path: &Path) -> Result<OwnedFd, CopyError> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let opened = rustix::fs::openat2(
        top.directory.as_fd(),
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    );
    host(&top.shown.join(path), opened.map_err(Into::into))
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
