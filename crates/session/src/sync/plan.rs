//! What is to be written and removed on this host so that it has what a session made.

use std::path::PathBuf;

use super::SyncError;
use super::seen::{Entry, Kind, Seen, Tree, content};
use crate::agent::copy::place::HostPlace;

/// What is to be done. Paths are relative to the directory, each before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be made as the session has it.
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
type Side<'a> = (&'a HostPlace, &'a Tree);

impl Plan {
    pub(super) fn make(
        seen: &Seen,
        session: Side<'_>,
        host: Side<'_>,
        delete: bool,
    ) -> Result<Self, SyncError> {
        let mut plan = Self::default();
        for (path, entry) in &session.1.0 {
            let before = seen.get(path);
            let now = host.1.0.get(path);
            let theirs = content(session.0, path, entry.kind)?;
            let is_before = before.is_some_and(|(before, content)| {
                entry.kind == before.kind
                    && entry.executable == before.executable
                    && theirs.as_deref() == Some(content)
            });
            if is_before {
                continue;
            }
            let is_now = match now {
                Some(now) if now.kind == entry.kind && now.executable == entry.executable => {
                    theirs.is_some() && content(host.0, path, now.kind)? == theirs
                }
                _ => false,
            };
            if is_now {
                plan.same.push(path.clone());
                continue;
            }
            // A directory in the place of something else goes with all that is in it.
            let in_the_way =
                now.is_some_and(|now| now.kind == Kind::Directory && entry.kind != Kind::Directory);
            if in_the_way && !delete {
                plan.in_the_way.push(path.clone());
                continue;
            }
            if !is_untouched(now, before.map(|(before, _)| before)) {
                plan.both.push(path.clone());
            }
            plan.write.push(path.clone());
        }
        for (path, now) in &host.1.0 {
            // What this host has made since is not the session's to remove.
            let Some((before, _)) = seen.get(path) else {
                continue;
            };
            if session.1.0.contains_key(path) {
                continue;
            }
            if !delete {
                plan.left.push(path.clone());
                continue;
            }
            if !now.is_as(before) {
                plan.both.push(path.clone());
            }
            plan.remove.push(path.clone());
        }
        Ok(plan)
    }
}

/// Whether this host has left it alone.
fn is_untouched(now: Option<&Entry>, before: Option<&Entry>) -> bool {
    match (now, before) {
        (None, None) => true,
        (Some(now), Some(before)) => now.is_as(before),
        _ => false,
    }
}
