//! Copying files and directories between this host and a session, both ways.
//!
//! What comes out is hostile: names are single components, links are made and never followed, and
//! the tree is written beneath an open directory that nothing of it can leave. So is what goes in, where
//! the session can write there: it is read beneath an open directory, too. On the way to it no link is
//! followed that a session can have made.

mod bounded;
mod inward;
mod outward;
pub(crate) mod place;
#[cfg(test)]
mod tests;

pub(crate) use inward::Inward;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use axo_core::one_line;

use super::{AgentError, Files};

/// How much a copy out of a session may bring.
#[derive(Clone, Copy, Debug)]
pub struct CopyLimits {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of all files, with those of their holes.
    pub bytes: u64,
    /// Bytes of this host's disk.
    pub stored: u64,
    /// Bytes of all paths, and of what links lead to: this host keeps them in memory.
    pub path_bytes: u64,
}

impl Default for CopyLimits {
    /// A million entries, 64 GiB, 256 MiB of paths.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 64 << 30,
            stored: 64 << 30,
            path_bytes: 256 << 20,
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
    /// Paths of what was left out because the session's agent could not read it, where that is no error.
    pub unread: Vec<PathBuf>,
}

impl Copied {
    /// All that was met, what was left out too.
    fn entries(&self) -> u64 {
        let left_out = self.skipped.len() + self.unread.len();
        self.files + self.directories + self.links + left_out as u64
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
    #[error("{} in the session", one_line(.path))]
    Session {
        /// In the session.
        path: PathBuf,
        /// Why.
        source: AgentError,
    },
    /// Our side.
    #[error("{} on this host", one_line(.path))]
    Host {
        /// On this host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that no file can have.
    #[error("the session lists a file {0:?}, which is no path beneath its directory")]
    BadName(PathBuf),
    /// Led elsewhere.
    #[error(
        "{} on this host is a link in a directory that a session can write; name the place that it leads to, if that is meant",
        one_line(.0)
    )]
    Led(PathBuf),
    /// A target of this host that names nothing.
    #[error("{0} of this host does not name what is to be made: write ./NAME")]
    NoName(PathBuf),
    /// More than allowed.
    #[error(
        "there is more to copy than {} entries, {} bytes of files, {} of them on this host\'s disk, or {} bytes of paths: copy less at a time with `axocoatl session cp`",
        .0.entries, .0.bytes, .0.stored, .0.path_bytes
    )]
    TooMuch(CopyLimits),
    /// Neither file, directory nor link.
    #[error("{} is neither a file nor a directory", one_line(.0))]
    NotCopied(PathBuf),
}

impl Files {
    /// What the session's side came to.
    fn ours<T>(&self, path: &Path, result: Result<T, AgentError>) -> Result<T, CopyError> {
        result.map_err(|source| CopyError::Session {
            path: Path::new(OsStr::from_bytes(self.root())).join(path),
            source,
        })
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
