//! The directory of this host that a session works in: what may be one, and which one it is.
//!
//! Podman mounts it by its path, some time after it was looked at. Whoever can write in a directory
//! above it may have put another in its place by then, or a link. So it is opened when it is looked at,
//! and what the container has is held against that before anything runs there.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use crate::{Refused, RefusedReason};

/// Directories of the system; neither they nor what holds them can be a working directory. What is
/// beneath the first ones cannot be either.
const SYSTEM_TREES: [&str; 12] = [
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/run",
    "/axocoatl",
];
/// Holds other things than one's work.
const NEVER_WHOLE: [&str; 8] = [
    "/", "/home", "/root", "/var", "/tmp", "/opt", "/srv", "/mnt",
];

/// A directory of this host. While this lives, no other gets its number.
#[derive(Clone)]
pub(crate) struct Identity {
    _opened: Arc<OwnedFd>,
    device: u64,
    inode: u64,
}

impl Identity {
    /// The directory at `path`, to which no link leads.
    pub(crate) fn of(path: &Path) -> Result<Self, Errno> {
        Self::opened(openat2(
            CWD,
            path,
            FLAGS,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        )?)
    }

    /// What a process has at `path`, with links as it has them.
    pub(crate) fn seen_by(process: u32, path: &Path) -> Result<Self, Errno> {
        let root = openat(CWD, format!("/proc/{process}/root"), FLAGS, Mode::empty())?;
        Self::opened(openat2(
            root,
            path,
            FLAGS,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }

    fn opened(directory: OwnedFd) -> Result<Self, Errno> {
        let (device, inode) = number(&directory)?;
        Ok(Self {
            _opened: Arc::new(directory),
            device,
            inode,
        })
    }

    /// Whether `directory` is this one.
    pub(crate) fn is(&self, directory: impl AsFd) -> bool {
        number(directory) == Ok((self.device, self.inode))
    }
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn number(directory: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// The directory as it is mounted: absolute and without links, so that it can be
/// said which one it is.
pub(crate) fn look_at(path: &Path) -> Result<(PathBuf, Identity), Refused> {
    let refused = |why: String| Refused {
        reason: RefusedReason::Directory {
            path: path.to_owned(),
            why,
        },
        fix: "name a directory of yours that holds nothing but the work".to_owned(),
    };
    let resolved = path
        .canonicalize()
        .map_err(|error| refused(format!("it cannot be resolved: {error}")))?;
    if path.is_absolute() && path != resolved {
        return Err(refused(format!(
            "it leads to {} through a link or '..'",
            resolved.display()
        )));
    }
    if !resolved.is_dir() {
        return Err(refused("it is no directory".to_owned()));
    }
    if SYSTEM_TREES.iter().any(|tree| resolved.starts_with(tree)) {
        return Err(refused("it belongs to the system".to_owned()));
    }
    let home = std::env::home_dir();
    let whole = NEVER_WHOLE.iter().map(Path::new).chain(home.as_deref());
    let holds = |inner: &Path| inner.starts_with(&resolved);
    if whole.clone().any(holds) || SYSTEM_TREES.iter().any(|tree| holds(Path::new(tree))) {
        return Err(refused("it holds more than one's work".to_owned()));
    }
    // podman's option for a mount is a text with colons and commas.
    let text = resolved
        .to_str()
        .ok_or_else(|| refused("its name is not UTF-8".to_owned()))?;
    if text.contains([':', ',', '"', '\\']) || text.chars().any(char::is_control) {
        return Err(refused(
            "podman cannot mount a name with ':', ',', '\"', '\\' or a control character"
                .to_owned(),
        ));
    }
    let identity = Identity::of(&resolved)
        .map_err(|error| refused(format!("it cannot be opened: {error}")))?;
    Ok((resolved, identity))
}
