//! Files, each beneath a root.
//!
//! A path is resolved by the kernel (`openat2`) beneath its root: `..`, an absolute path and a link
//! that lead out of it are refused ([`Code::Outside`](crate::Code::Outside)), and so is every link of
//! `/proc` that is not one. Links that stay inside are followed. An empty path is the root itself.

use serde::{Deserialize, Serialize};

use crate::message::{at_most, path};
use crate::{ProtocolError, bounds};

/// A file or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// An absolute path to a directory.
    pub root: Vec<u8>,
    /// A path beneath it.
    pub path: Vec<u8>,
}

impl Place {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        path(&self.path)?;
        root(&self.root)
    }
}

fn root(root: &[u8]) -> Result<(), ProtocolError> {
    if root.first() != Some(&b'/') {
        return Err(ProtocolError::Invalid("a root that is not absolute"));
    }
    path(root)
}

/// Whose a new file is. None is whom the agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The bytes of a regular file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Which one.
    pub place: Place,
    /// From where.
    pub offset: u64,
    /// How many; none is all.
    pub length: Option<u64>,
    /// Whether a link as the last part of the path is refused.
    pub no_follow: bool,
}

/// A regular file to be written with the [`Input`](crate::Kind::Input) that follows, to an empty one.
/// A connection that closes before that leaves no new or replaced file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which one.
    pub place: Place,
    /// How.
    pub how: How,
    /// Mode of a new or replaced file (`0o7777` at most). None is that of the file replaced, or
    /// `0o644`.
    pub mode: Option<u32>,
    /// Whose a new file is, and what is made for it. None is whose the file replaced is, or the agent's.
    pub owner: Option<Owner>,
    /// Whether missing directories are made, with mode `0o755`.
    pub make_parents: bool,
    /// Whether a link as the last part of the path is refused, where it would be followed.
    pub no_follow: bool,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// As a new one, whole or not at all.
    CreateNew,
    /// In the place of one, if there is one, whole or not at all. A link is replaced, not followed.
    Replace,
    /// At its end. It is made if it is missing.
    Append,
    /// From this byte on, over what is there. It is made if it is missing.
    At(u64),
}

/// What is in a directory, in no order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Which one.
    pub place: Place,
    /// How deep: 1 is what is in it alone; [`bounds::MAX_LIST_DEPTH`] at most. No link is gone into.
    pub depth: u32,
    /// After how many entries to stop.
    pub limit: u64,
}

/// A directory to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeDirectory {
    /// Which one.
    pub place: Place,
    /// Its mode, and that of its parents.
    pub mode: u32,
    /// Whose it and its parents are.
    pub owner: Option<Owner>,
    /// Whether missing directories before it are made, and it may be there.
    pub parents: bool,
}

/// A symbolic link to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeLink {
    /// Where.
    pub place: Place,
    /// Where it leads. It may lead nowhere, or out of the root: following it is refused then.
    pub target: Vec<u8>,
    /// Whose it is.
    pub owner: Option<Owner>,
}

/// Something to be moved within a root. Links are moved, not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// An absolute path to a directory.
    pub root: Vec<u8>,
    /// A path beneath it.
    pub from: Vec<u8>,
    /// Another.
    pub to: Vec<u8>,
    /// Whether what is there is replaced.
    pub replace: bool,
}

impl List {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        at_most(
            "depth",
            usize::try_from(self.depth).unwrap_or(usize::MAX),
            bounds::MAX_LIST_DEPTH as usize,
        )?;
        self.place.check()
    }
}

impl MakeLink {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        path(&self.target)?;
        self.place.check()
    }
}

impl Move {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        root(&self.root)?;
        path(&self.from)?;
        path(&self.to)
    }
}

/// Refuses more than the twelve bits that `chmod` takes.
pub(crate) fn mode(mode: u32) -> Result<(), ProtocolError> {
    if mode > 0o7777 {
        return Err(ProtocolError::Invalid("a mode above 0o7777"));
    }
    Ok(())
}

/// What is known about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// What it takes on its file system, in bytes.
    pub allocated: u64,
    /// Its mode, without its kind.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was changed.
    pub modified: Time,
    /// When it or its mode, owner or name was changed.
    pub changed: Time,
    /// Where a link leads.
    pub target: Option<Vec<u8>>,
}

impl Stat {
    pub(crate) fn check(&self) -> Result<(), ProtocolError> {
        match &self.target {
            Some(target) => path(target),
            None => Ok(()),
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device of characters.
    CharacterDevice,
    /// A device of blocks.
    BlockDevice,
    /// Something else.
    Unknown,
}

/// A time of the sandbox's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanos: u32,
}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path beneath the directory that is listed.
    pub path: Vec<u8>,
    /// What is known about it.
    pub stat: Stat,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// To what: a path beneath the one that is watched, empty for that itself.
    pub path: Vec<u8>,
    /// Whether it is a directory.
    pub directory: bool,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was made.
    Created,
    /// Its bytes were changed. Told for every write that the kernel tells apart.
    Modified,
    /// Who had it open for writing closed it.
    Written,
    /// Its mode, owner or times were changed.
    Attributes,
    /// It was removed.
    Removed,
    /// It was moved away. One number connects both ends of a move.
    MovedFrom(u32),
    /// It was moved here.
    MovedTo(u32),
    /// What is watched is gone: no more will come.
    Ended,
    /// Some events were lost: look again.
    Overflow,
    /// Directories were too many to watch: changes beneath this one are not told.
    Unwatched,
}
