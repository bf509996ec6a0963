//! The directory of a session in a machine: a copy goes in when the session is made, and what was made
//! of it comes back when somebody says so.
//!
//! ```text
//! bring ──▶ seen.rs   what each file was, on this host
//!       ──▶ (copies)
//! sync  ──▶ (copies everything out, beside the record)
//!       ──▶ plan.rs   what is different from what was brought, and whether this host changed it too
//!       ──▶ apply.rs  writes it, beneath the directory and nowhere else
//! ```
//!
//! The copy that comes out is whole before anything is written: a session that ends in the middle has
//! changed nothing here. It is hostile: [`crate::agent::Files::copy_out`] says how it is taken.

mod apply;
mod error;
mod plan;
mod seen;
mod stage;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::agent::copy::Inward;
use crate::agent::copy::place::{HostPlace, names};
use crate::agent::{Agent, Copied, CopyError, CopyLimits};
use crate::directory::Identity;
use crate::record::Record;
use crate::table::{Table, Turn};
use crate::{Refused, RefusedReason, SessionError, SessionTier};
pub use error::SyncError;
use plan::Plan;
use seen::{Kind, Seen, Tree};
use stage::{Stage, TREE};

/// Most files, directories and links of a directory.
const MAX_ENTRIES: u64 = 1_000_000;
/// A session's agent may have no right to pass over modes, and modes are not brought back.
const OURS: Inward = Inward {
    file_mode: 0o600,
    directory_mode: 0o700,
    left_out: is_partial,
};
/// How much of this host's disk may come of what a session has room for: a file of several names is as
/// many files here. And bytes more, for small files' last blocks.
const STORED_TIMES: u64 = 4;
const SLACK_BYTES: u64 = 64 << 20;
/// Bytes of room for each file, directory and link that a session's copy may have: half a page of a
/// file system in memory.
const ENTRY_BYTES: u64 = 2048;
/// So many it may have in any case.
const MIN_ENTRIES: u64 = 16 << 10;

/// How long a directory may take from one side to the other: so long, and longer by what its session has
/// room for, at so many bytes a second. A hostile session can be slow for ever.
const COPY_TIME: Duration = Duration::from_secs(600);
const SLOWEST: u64 = 512 << 10;

/// How a directory is brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// Whether what was removed in the session is removed here.
    pub delete: bool,
    /// Whether what was changed on both sides becomes what the session has.
    pub force: bool,
    /// Whether nothing is done but said.
    pub dry_run: bool,
}

/// What bringing a directory back has done, or would. Paths are relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Written: files, links and directories that are new or different.
    pub written: Vec<PathBuf>,
    /// Removed.
    pub removed: Vec<PathBuf>,
    /// Removed in the session, and left here, because removing was not asked for.
    pub left: Vec<PathBuf>,
    /// Neither file, directory nor link, or called as only half a file of a sync is, and not copied.
    pub skipped: Vec<PathBuf>,
    /// Not brought back, with what is in it, because the session's agent cannot read it, or it is a file
    /// of more than 64 GiB, or is deeper than 256 directories. What this host has in its place stays.
    pub unread: Vec<PathBuf>,
    /// With a dry run, what [`SyncError::Conflicts`] would name: changed on both sides, where that was not
    /// forced, and not among those above.
    pub both: Vec<PathBuf>,
    /// With a dry run, the same: directories of this host in whose place the session has something else,
    /// where removing was not asked for.
    pub in_the_way: Vec<PathBuf>,
}

impl Synced {
    /// Whether both sides are the same, as far as the session changed anything.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let changes = [&self.written, &self.removed, &self.left, &self.unread];
        changes.iter().all(|paths| paths.is_empty()) && !self.is_refused()
    }

    /// Whether the same without a dry run would refuse, because somebody has to decide.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.both.is_empty() || !self.in_the_way.is_empty()
    }
}

/// Whether a session whose scratch space is so large has room for a copy of this directory.
pub(crate) async fn check_room(directory: &Path, scratch: u64) -> Result<(), SyncError> {
    let top = opened(directory)?;
    off_thread(move || has_room(&top, &Tree::of(&top)?, scratch)).await
}

/// Copies the directory of a new session into it.
pub(crate) async fn bring(
    agent: &Agent,
    table: &Table,
    record: &Record,
    directory: &Identity,
) -> Result<(), SessionError> {
    let Some(path) = &record.directory else {
        return Ok(());
    };
    let at = |source: CopyError| SessionError::Bring {
        path: path.clone(),
        source: Box::new(source),
    };
    let top = opened(path)?;
    let is_it = |seen: bool| match seen {
        true => Ok(()),
        false => Err(SessionError::Refused(Refused {
            reason: RefusedReason::Directory {
                path: path.clone(),
                why: "another came to its place while the session was made".to_owned(),
            },
            fix: "see who can write in the directories above it, and name one that you alone can \
                  move"
                .to_owned(),
        })),
    };
    is_it(directory.is(&top.directory))?;
    // Before it is copied: what changes meanwhile has changed since.
    let scratch = record.limits.scratch;
    let (seen, top) = off_thread(move || Ok((taken_in(&top, scratch)?, top))).await?;
    let files = agent.files("/");
    let target = relative(path);
    let copying = async {
        let mut skipped = 0;
        for name in names(&top)? {
            let to = target.join(&name);
            // From the directory that was opened, never by its path: who can write above it may put
            // another there meanwhile, of files that only we can read.
            match files
                .copy_in_from(&top, &name, &to, OURS, &mut |_: &Copied| ())
                .await
            {
                Ok(copied) => skipped += copied.skipped.len(),
                Err(CopyError::NotCopied(_)) => skipped += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(skipped)
    };
    let skipped = in_time(scratch, copying).await?.map_err(at)?;
    // What a session is said to have is what is there.
    is_it(Identity::of(path).is_ok_and(|now| now == *directory))?;
    if skipped > 0 {
        tracing::warn!(
            "{skipped} of {} are neither files, directories nor links, and not in the session",
            path.display()
        );
    }
    seen.save(&table.seen(&record.id))?;
    Ok(())
}

/// What comes of a copy, if it is done in the time that a session with so much room is given.
async fn in_time<T>(scratch: u64, copy: impl Future<Output = T>) -> Result<T, SyncError> {
    let within = COPY_TIME + Duration::from_secs(scratch / SLOWEST);
    let done = tokio::time::timeout(within, copy).await;
    done.map_err(|_| SyncError::Late(within))
}

/// What is in a directory that has room in a session. How large its files are is asked before they are
/// read: that can take for ever.
fn taken_in(top: &HostPlace, scratch: u64) -> Result<Seen, SyncError> {
    let tree = Tree::of(top)?;
    has_room(top, &tree, scratch)?;
    Seen::of(top, tree)
}

fn has_room(top: &HostPlace, tree: &Tree, scratch: u64) -> Result<(), SyncError> {
    let files = tree.0.values().filter(|entry| entry.kind == Kind::File);
    let bytes = files.fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    let entries = tree.0.len();
    if bytes > scratch || entries as u64 > entries_of(scratch) {
        return Err(SyncError::TooLarge {
            path: top.shown.clone(),
            bytes,
            entries,
            scratch,
        });
    }
    Ok(())
}

/// Most files, directories and links of a session's copy.
const fn entries_of(scratch: u64) -> u64 {
    let entries = scratch / ENTRY_BYTES;
    match entries {
        MAX_ENTRIES.. => MAX_ENTRIES,
        0..MIN_ENTRIES => MIN_ENTRIES,
        _ => entries,
    }
}

/// Brings the directory of a session back. The turn on it is let go when the last write is done, though
/// nobody waits for that any more.
pub(crate) async fn back(
    agent: &Agent,
    table: &Table,
    record: &Record,
    options: SyncOptions,
    turn: Turn,
) -> Result<Synced, SyncError> {
    let Some(path) = record
        .directory
        .clone()
        .filter(|_| record.tier == SessionTier::MicroVm)
    else {
        return Err(SyncError::NoCopy(record.called().to_owned()));
    };
    let kept = table.seen(&record.id);
    let top = opened(&path)?;
    let seen = Seen::load(&kept)?;
    if !seen.is_of(&top)? {
        return Err(SyncError::Moved(path));
    }
    let scratch = record.limits.scratch;
    let stage = Stage::new(table.beside(&record.id), turn)?;
    let limits = CopyLimits {
        entries: entries_of(scratch),
        stored: scratch
            .saturating_mul(STORED_TIMES)
            .saturating_add(SLACK_BYTES),
        // With holes a file is as large as it likes.
        ..CopyLimits::default()
    };
    let files = agent.files("/");
    let (from, mut silent) = (relative(&path), |_: &Copied| ());
    let to = (&stage.place, OsStr::new(TREE));
    let copied = in_time(scratch, files.copy_out_to(&from, to, limits, &mut silent)).await??;
    let below = |skipped: &PathBuf| skipped.strip_prefix(relative(&path)).map(Path::to_owned);
    let all_below = |paths: &[PathBuf]| paths.iter().filter_map(|path| below(path).ok()).collect();
    let skipped: Vec<PathBuf> = all_below(&copied.skipped);
    let unread: Vec<PathBuf> = all_below(&copied.unread);
    off_thread(move || {
        let ours = stage.tree()?;
        let (session, host) = (Tree::of_ours(&ours)?, Tree::of(&top)?);
        let known: BTreeSet<&Path> = unread.iter().map(PathBuf::as_path).collect();
        let sides = ((&ours, &session), (&top, &host));
        let mut plan = Plan::make(&seen, sides, &known, options.delete)?;
        if options.force {
            plan.both.clear();
        }
        if !options.dry_run {
            if !plan.both.is_empty() || !plan.in_the_way.is_empty() {
                return Err(SyncError::Conflicts {
                    both: plan.both,
                    in_the_way: plan.in_the_way,
                });
            }
            // Before anything is written: what cannot be remembered cannot be told from changes.
            seen.check_room(&plan).map_err(SyncError::at(&top.shown))?;
            apply::apply(&plan, (&ours, &session), (&top, &host))?;
            seen.after(&plan, (&ours, &session), &top)?.save(&kept)?;
        }
        let both: BTreeSet<&Path> = plan.both.iter().map(PathBuf::as_path).collect();
        let decided = |paths: &[PathBuf]| -> Vec<PathBuf> {
            let decided = paths.iter().filter(|path| !both.contains(path.as_path()));
            decided.cloned().collect()
        };
        Ok(Synced {
            written: decided(&plan.write),
            removed: decided(&plan.remove),
            left: plan.left,
            skipped: [skipped, session.1].concat(),
            unread,
            both: plan.both,
            in_the_way: plan.in_the_way,
        })
    })
    .await
}

/// A directory of this host, to which no link leads.
fn opened(path: &Path) -> Result<HostPlace, SyncError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    Ok(HostPlace {
        directory: opened.map_err(|e| SyncError::at(path)(e.into()))?,
        shown: path.to_owned(),
    })
}

/// A path as files beneath the root of a session have it.
fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// What reads many files, where nobody else waits for it.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SyncError> + Send + 'static,
) -> Result<T, SyncError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SyncError::at(Path::new("."))(io::Error::other(error))))
}

/// The device and number of an open directory.
fn number(place: &HostPlace) -> Result<(u64, u64), SyncError> {
    let file = place.directory.try_clone().map(fs::File::from);
    let metadata = file.and_then(|file| file.metadata());
    let metadata = metadata.map_err(SyncError::at(&place.shown))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// What is written to the directory is called so until it is whole.
const PARTIAL: &str = ".axocoatl-sync-";

/// A name for it that nobody else has.
fn partial() -> OsString {
    format!("{PARTIAL}{}", uuid::Uuid::new_v4().simple()).into()
}

/// Whether something is called so: a sync was ended in the middle, or is at it.
fn is_partial(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(PARTIAL.as_bytes());
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    rest.is_some_and(|rest| rest.len() == 32 && rest.iter().all(digit))
}

/// A path of bytes, as the kernel has it.
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
