//! What is in a directory: as it is now, and as it was when it was brought into a session.
//!
//! The latter is a file beside the session's record. Each entry ends with a NUL, which no path has; the
//! first says which directory it is:
//!
//! ```text
//! axocoatl-seen 1 DEVICE INODE
//! KIND EXECUTABLE INODE SIZE MODIFIED CHANGED CONTENT PATH
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, readlinkat, statat};
use sha2::{Digest as _, Sha256};

use super::plan::{Plan, Side};
use super::{MAX_ENTRIES, SyncError, is_partial, number, path_of};
use crate::agent::copy::place::{HostPlace, beneath, names};

const HEADING: &str = "axocoatl-seen 1";
/// Longest file of these, in bytes: a million entries of paths as they usually are.
const MAX_BYTES: u64 = 512 << 20;
/// Longest line of these beside its path: five numbers, of 20 or 40 digits, and a digest.
const LINE_BYTES: u64 = 256;
/// Most bytes of the paths in a directory.
const MAX_PATH_BYTES: u64 = 256 << 20;
/// The owner may execute it.
const EXECUTABLE: u32 = 0o100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    /// A FIFO, socket or device of this host. No copy has one.
    Other,
}

/// What tells a state of a file of this host from every other, as far as can be seen without reading
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) executable: bool,
    inode: u64,
    pub(super) size: u64,
    modified: i128,
    changed: i128,
}

/// Everything in a directory, and then, in no order, what is called as half a file of a sync is. Paths are
/// relative to it, and what is in a directory comes after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(pub(super) BTreeMap<PathBuf, Entry>, pub(super) Vec<PathBuf>);

/// A directory as it was when it was brought, and the contents that the session got.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    directory: (u64, u64),
    entries: BTreeMap<PathBuf, (Entry, String)>,
}

impl Entry {
    /// Whether this host has not changed it. A directory is what is in it.
    pub(super) fn is_as(&self, before: &Self) -> bool {
        match self.kind {
            Kind::Directory => before.kind == Kind::Directory,
            _ => self == before,
        }
    }

    /// Whether it can be the same as one on the other side, as far as can be told without reading either.
    pub(super) fn looks_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match self.kind {
                Kind::File => self.executable == other.executable && self.size == other.size,
                Kind::Directory | Kind::Link => true,
                Kind::Other => false,
            }
    }
}

impl Tree {
    /// Of this host, which may change it meanwhile.
    pub(super) fn of(top: &HostPlace) -> Result<Self, SyncError> {
        Self::read(top, true)
    }

    /// Of a copy of ours. What goes from there is nothing that the session removed.
    pub(super) fn of_ours(top: &HostPlace) -> Result<Self, SyncError> {
        Self::read(top, false)
    }

    fn read(top: &HostPlace, changes: bool) -> Result<Self, SyncError> {
        let (mut entries, mut partial) = (BTreeMap::new(), Vec::new());
        let mut path_bytes = 0;
        let mut stack = vec![PathBuf::new()];
        while let Some(below) = stack.pop() {
            let here = HostPlace {
                directory: beneath(top, &below)?,
                shown: top.shown.join(&below),
            };
            for name in names(&here)? {
                let path = below.join(&name);
                let stat = match statat(&here.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    // It has just gone.
                    Err(rustix::io::Errno::NOENT) if changes => continue,
                    stat => stat.map_err(|e| SyncError::at(&top.shown.join(&path))(e.into()))?,
                };
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => Kind::File,
                    FileType::Directory => Kind::Directory,
                    FileType::Symlink => Kind::Link,
                    _ => Kind::Other,
                };
                let time = |seconds, nanos| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
                let entry = Entry {
                    kind,
                    executable: kind == Kind::File && stat.st_mode & EXECUTABLE != 0,
                    inode: stat.st_ino,
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    modified: time(stat.st_mtime, stat.st_mtime_nsec),
                    changed: time(stat.st_ctime, stat.st_ctime_nsec),
                };
                if kind == Kind::Directory {
                    stack.push(path.clone());
                }
                path_bytes += path.as_os_str().len() as u64;
                if path_bytes > MAX_PATH_BYTES {
                    let why = format!("its paths have more than {MAX_PATH_BYTES} bytes");
                    return Err(SyncError::at(&top.shown)(io::Error::other(why)));
                }
                match kind {
                    Kind::File | Kind::Link if is_partial(&name) => partial.push(path),
                    _ => drop(entries.insert(path, entry)),
                }
                if (entries.len() + partial.len()) as u64 > MAX_ENTRIES {
                    let why = format!("more than {MAX_ENTRIES} files, directories and links");
                    return Err(SyncError::at(&top.shown)(io::Error::other(why)));
                }
            }
        }
        Ok(Self(entries, partial))
    }
}

impl Seen {
    /// The directory, with what is in it now.
    pub(super) fn of(top: &HostPlace, tree: Tree) -> Result<Self, SyncError> {
        let mut entries = BTreeMap::new();
        for (path, entry) in tree.0 {
            // What has just gone, or is another thing now, is not brought as it was.
            if let Some(content) = content(top, &path, &entry)? {
                entries.insert(path, (entry, content));
            }
        }
        Ok(Self {
            directory: number(top)?,
            entries,
        })
    }

    /// Whether that was this directory.
    pub(super) fn is_of(&self, top: &HostPlace) -> Result<bool, SyncError> {
        Ok(self.directory == number(top)?)
    }

    pub(super) fn get(&self, path: &Path) -> Option<(&Entry, &str)> {
        let (entry, content) = self.entries.get(path)?;
        Some((entry, content))
    }

    /// What both sides have seen when `plan` was carried out: what the session has, as it is here now.
    /// What was left here is still to be removed, as far as it is known, and what only this host has
    /// changed is still changed. What this host changed while the plan was carried out nobody has seen:
    /// the next time somebody has to say which of both stays.
    pub(super) fn after(
        mut self,
        plan: &Plan,
        session: Side<'_>,
        top: &HostPlace,
    ) -> Result<Self, SyncError> {
        let now = Tree::of(top)?;
        for path in &plan.remove {
            self.entries.remove(path);
        }
        for path in plan.write.iter().chain(&plan.same) {
            self.entries.remove(path);
            let (Some(now), Some(theirs)) = (now.0.get(path), session.1.0.get(path)) else {
                continue;
            };
            if let Some(content) = same(session.0, top, path, (theirs, now))? {
                self.entries.insert(path.clone(), (*now, content));
            }
        }
        Ok(self)
    }

    /// Whether what this is after `plan` could be loaded again.
    pub(super) fn check_room(&self, plan: &Plan) -> io::Result<()> {
        let fresh = plan.write.iter().chain(&plan.same);
        let fresh = fresh.filter(|path| !self.entries.contains_key(*path));
        let lines = self.entries.keys().chain(fresh);
        let bytes = lines.fold(LINE_BYTES, |sum, path| {
            sum + LINE_BYTES + path.as_os_str().len() as u64
        });
        fits(bytes)
    }

    pub(super) fn load(path: &Path) -> Result<Self, SyncError> {
        let at = |source| SyncError::Seen {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(at)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(at(io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&bytes).ok_or_else(|| at(io::ErrorKind::InvalidData.into()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let heading = std::str::from_utf8(lines.next()?).ok()?;
        let mut numbers = heading.strip_prefix(HEADING)?.split_whitespace();
        let directory = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let mut entries = BTreeMap::new();
        for line in lines {
            let mut words = line.splitn(8, |byte| *byte == b' ');
            let mut word = || std::str::from_utf8(words.next()?).ok();
            let kind = match word()? {
                "f" => Kind::File,
                "d" => Kind::Directory,
                "l" => Kind::Link,
                _ => return None,
            };
            let entry = Entry {
                kind,
                executable: word()? == "x",
                inode: word()?.parse().ok()?,
                size: word()?.parse().ok()?,
                modified: word()?.parse().ok()?,
                changed: word()?.parse().ok()?,
            };
            let content = word()?.to_owned();
            entries.insert(path_of(words.next()?), (entry, content));
        }
        Some(Self { directory, entries })
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), SyncError> {
        let mut text =
            format!("{HEADING} {} {}\0", self.directory.0, self.directory.1).into_bytes();
        for (path, (entry, content)) in &self.entries {
            let kind = match entry.kind {
                Kind::File => "f",
                Kind::Directory => "d",
                Kind::Link => "l",
                // It has no content, and so was not taken in.
                Kind::Other => continue,
            };
            let executable = if entry.executable { "x" } else { "-" };
            let Entry {
                inode,
                size,
                modified,
                changed,
                ..
            } = entry;
            text.extend(
                format!("{kind} {executable} {inode} {size} {modified} {changed} {content} ")
                    .bytes(),
            );
            text.extend(path.as_os_str().as_bytes());
            text.push(0);
        }
        fits(text.len() as u64).map_err(SyncError::at(path))?;
        let fresh = path.with_extension("new");
        let write = || {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        };
        write().map_err(SyncError::at(path))
    }
}

fn fits(bytes: u64) -> io::Result<()> {
    if bytes > MAX_BYTES {
        let why = "its files, and those of the session, are more than can be remembered; remove some of them";
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// What tells the content of both sides' file, link or directory from every other, if it is the same.
/// Neither is read if it can be told without that.
pub(super) fn same(
    session: &HostPlace,
    host: &HostPlace,
    path: &Path,
    (theirs, now): (&Entry, &Entry),
) -> Result<Option<String>, SyncError> {
    if !theirs.looks_as(now) {
        return Ok(None);
    }
    let of_host = content(host, path, now)?;
    Ok(match of_host {
        Some(content_now) if content(session, path, theirs)?.as_deref() == Some(&content_now) => {
            Some(content_now)
        }
        _ => None,
    })
}

/// What tells the content of a file or link from every other; none if it is not there, or not as `entry`
/// has it. No more of a file is read than that says: it may have become one without end.
pub(super) fn content(
    top: &HostPlace,
    path: &Path,
    entry: &Entry,
) -> Result<Option<String>, SyncError> {
    let (parent, Some(name)) = (path.parent().unwrap_or(Path::new("")), path.file_name()) else {
        return Ok(None);
    };
    let at = |e: io::Error| SyncError::at(&top.shown.join(path))(e);
    let gone = |e: &io::Error| {
        let not_this = [libc::ELOOP, libc::ENOTDIR, libc::EINVAL, libc::ENXIO];
        e.kind() == io::ErrorKind::NotFound
            || e.raw_os_error()
                .is_some_and(|number| not_this.contains(&number))
    };
    let directory = match beneath(top, parent) {
        Ok(directory) => directory,
        Err(crate::agent::CopyError::Host { source, .. }) if gone(&source) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let digest = match entry.kind {
        Kind::Other => return Ok(None),
        Kind::Directory => return Ok(Some("-".to_owned())),
        Kind::Link => match readlinkat(&directory, name, Vec::new()) {
            Ok(target) => Sha256::digest(target.as_bytes()),
            Err(e) if gone(&e.into()) => return Ok(None),
            Err(e) => return Err(at(e.into())),
        },
        Kind::File => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match openat(&directory, name, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(e) if gone(&e.into()) => return Ok(None),
                Err(e) => return Err(at(e.into())),
            };
            if !file.metadata().map_err(at)?.is_file() {
                return Ok(None);
            }
            let mut hash = Sha256::new();
            let mut chunk = vec![0; 128 << 10];
            let mut left = file.take(entry.size.saturating_add(1));
            let mut length = 0;
            loop {
                match left.read(&mut chunk).map_err(at)? {
                    0 => break,
                    read => {
                        hash.update(&chunk[..read]);
                        length += read as u64;
                    }
                }
            }
            if length != entry.size {
                return Ok(None);
            }
            hash.finalize()
        }
    };
    let mut text = String::new();
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(Some(text))
}
