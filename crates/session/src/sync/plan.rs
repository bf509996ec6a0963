//! What is to be written and removed on this host so that it has what a session made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::SyncError;
use super::seen::{Entry, Kind, Seen, Tree, content, same};
use crate::agent::copy::place::HostPlace;

/// What is to be done. Paths are relative to the directory, each before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be made as the session has it. What is above each is here a directory, or in this.
    pub(super) write: Vec<PathBuf>,
    /// To be removed.
    pub(super) remove: Vec<PathBuf>,
    /// Removed in the session, and left here.
    pub(super) left: Vec<PathBuf>,
    /// The same on both sides by now.
    pub(super) same: Vec<PathBuf>,
    /// Changed on both sides.
    pub(super) both: Vec<PathBuf>,
    /// Directories here, which the session has something else in the place of.
    pub(super) in_the_way: Vec<PathBuf>,
}

/// An open directory, and what is in it.
pub(super) type Side<'a> = (&'a HostPlace, &'a Tree);

impl Plan {
    /// `unread`: what the session has, with what is in it, and nobody could read.
    pub(super) fn make(
        seen: &Seen,
        (session, host): (Side<'_>, Side<'_>),
        unread: &BTreeSet<&Path>,
        delete: bool,
    ) -> Result<Self, SyncError> {
        let mut plan = Self::default();
        let (mut write, mut both) = (BTreeSet::new(), BTreeSet::new());
        // Directories here that go, with all that is in them.
        let mut replaced = BTreeSet::new();
        for (path, entry) in &session.1.0 {
            let before = seen.get(path);
            let now = host.1.0.get(path);
            if is_before(session.0, path, entry, before)? {
                continue;
            }
            if let Some(now) = now
                && same(session.0, host.0, path, (entry, now))?.is_some()
            {
                plan.same.push(path.clone());
                continue;
            }
            if now.is_some_and(|now| now.kind == Kind::Directory && entry.kind != Kind::Directory) {
                if !delete {
                    plan.in_the_way.push(path.clone());
                    continue;
                }
                replaced.insert(path.clone());
            }
            if !is_untouched(now, before.map(|(before, _)| before)) {
                both.insert(path.clone());
            }
            // What the session has left as it was is written, too, where this host has it no more and
            // something beneath it would have no place.
            for above in above(path) {
                let here = host.1.0.get(above);
                if here.is_none_or(|here| here.kind != Kind::Directory)
                    && write.insert(above.to_owned())
                    && (here.is_some() || seen.get(above).is_some())
                {
                    both.insert(above.to_owned());
                }
            }
            write.insert(path.clone());
        }
        for (path, now) in &host.1.0 {
            if session.1.0.contains_key(path) {
                continue;
            }
            // What the session has in its place is not known.
            if unread.contains(&**path) || above(path).any(|above| unread.contains(above)) {
                continue;
            }
            let goes = above(path).any(|above| replaced.contains(above));
            let before = seen.get(path).map(|(before, _)| before);
            // What this host has made since is not the session's to remove, unless it is in the place of
            // something of the session's: then somebody has to say which of them stays.
            if before.is_none() && !goes {
                continue;
            }
            if !delete {
                plan.left.push(path.clone());
                continue;
            }
            if before.is_none_or(|before| !now.is_as(before)) {
                both.insert(path.clone());
            }
            plan.remove.push(path.clone());
        }
        plan.write = write.into_iter().collect();
        plan.both = both.into_iter().collect();
        Ok(plan)
    }
}

/// Whether the session has it as it was brought. What can be told without reading it is told first.
fn is_before(
    session: &HostPlace,
    path: &Path,
    entry: &Entry,
    before: Option<(&Entry, &str)>,
) -> Result<bool, SyncError> {
    let Some((_, was)) = before.filter(|(before, _)| entry.looks_as(before)) else {
        return Ok(false);
    };
    Ok(content(session, path, entry)?.as_deref() == Some(was))
}

/// The directories that a path is in, but for the top, the nearest first.
fn above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors()
        .skip(1)
        .filter(|above| !above.as_os_str().is_empty())
}

/// Whether this host has left it alone.
fn is_untouched(now: Option<&Entry>, before: Option<&Entry>) -> bool {
    match (now, before) {
        (None, None) => true,
        (Some(now), Some(before)) => now.is_as(before),
        _ => false,
    }
}
