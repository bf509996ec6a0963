//! Why a directory was not brought back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_core::{Size, one_line};

use super::entries_of;
use crate::agent::CopyError;

/// Paths that an error names.
const NAMED: usize = 20;

/// Why a directory was not brought back.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// It has none that would have to be.
    #[error("session {0} has no copy of a directory: only one on tier microvm with --dir has")]
    NoCopy(String),
    /// Another directory is in its place.
    #[error("{} is not the directory that the session was made with; copy it out with `axocoatl session cp`", .0.display())]
    Moved(PathBuf),
    /// What it was when it was brought is not known.
    #[error("{} cannot be read: what of the directory was changed is not known; copy it out with `axocoatl session cp`", .path.display())]
    Seen {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody has to say which side stays.
    #[error("nothing was written{}{}", both_sides(.both), directories(.in_the_way))]
    Conflicts {
        /// Changed on both sides.
        both: Vec<PathBuf>,
        /// Directories of this host that the session has something else in the place of.
        in_the_way: Vec<PathBuf>,
    },
    /// It can hardly fit in, and could not be brought back.
    #[error(
        "{} holds {} in {entries} files, directories and links, and the session has room for {} in {}: give it more with --scratch, or name a smaller directory",
        .path.display(), Size::from_bytes(*.bytes), Size::from_bytes(*.scratch), entries_of(*.scratch)
    )]
    TooLarge {
        /// Which directory.
        path: PathBuf,
        /// Bytes of its files.
        bytes: u64,
        /// What is in it.
        entries: usize,
        /// What `--scratch` says, in bytes.
        scratch: u64,
    },
    /// The session took too long over all of it, though it answered.
    #[error(
        "copying the directory between the session and this host took longer than {} s; copy single files with `axocoatl session cp`, or end the session with --discard",
        .0.as_secs()
    )]
    Late(Duration),
    /// A copy failed.
    #[error("bringing the directory back")]
    Copy(#[from] CopyError),
    /// This host failed.
    #[error("{} on this host", one_line(.path))]
    Host {
        /// What it failed with.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SyncError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host {
            path: path.to_owned(),
            source,
        }
    }
}

fn both_sides(paths: &[PathBuf]) -> String {
    match paths {
        [] => String::new(),
        paths => format!(
            "; changed in the session and on this host: {}: save those of this host and use --force, or \
             copy single files out with `axocoatl session cp`",
            list(paths)
        ),
    }
}

fn directories(paths: &[PathBuf]) -> String {
    match paths {
        [] => String::new(),
        paths => format!(
            "; directories of this host in whose place the session has something else: {}: --delete \
             removes them",
            list(paths)
        ),
    }
}

/// The first of them, and how many more there are.
fn list(paths: &[PathBuf]) -> String {
    let named = paths.iter().take(NAMED);
    let shown: Vec<String> = named.map(|path| one_line(path)).collect();
    let shown = shown.join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => shown,
        left => format!("{shown} and {left} more"),
    }
}
