//! The warm pool: containers in the OCI state `created`, each for one call of one tool.
//!
//! A container belongs to a [`Key`]: everything that it was made of. A call takes one of its own key
//! or makes one; what was made for another key of the same tool is ended then. None is used twice.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axo_core::SpecId;

use crate::runner::Waiting;

/// Most containers that wait, of all tools together: each costs a runner and a process.
const MAX_WAITING: usize = 64;

/// What a container was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    /// The tool.
    pub(crate) tool: SpecId,
    /// Its contents, limits, mounts and user.
    pub(crate) made_of: String,
}

/// Containers that wait for calls. Dropped, they end.
pub(crate) struct Pool {
    /// The longest waiting first.
    waiting: Mutex<VecDeque<(Key, Waiting)>>,
    each: usize,
}

impl Pool {
    /// Keeps `each` containers a tool.
    pub(crate) fn new(each: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            each: each.min(MAX_WAITING),
        }
    }

    /// Takes a container of `key`, and ends those of the same tool that are of another.
    pub(crate) fn take(&self, key: &Key) -> Option<Waiting> {
        if self.each == 0 {
            return None;
        }
        let mut waiting = self.lock();
        waiting.retain(|(other, _)| other.tool != key.tool || other == key);
        while let Some(at) = waiting.iter().position(|(other, _)| other == key) {
            let taken = waiting.remove(at).map(|(_, container)| container);
            // One whose runner was killed meanwhile is of no use.
            if let Some(container) = taken.filter(Waiting::lives) {
                return Some(container);
            }
        }
        None
    }

    /// How many more containers of `key` are wanted.
    pub(crate) fn wants(&self, key: &Key) -> usize {
        let waiting = self.lock();
        let have = waiting.iter().filter(|(other, _)| other == key).count();
        self.each.saturating_sub(have)
    }

    /// Keeps a container for a later call.
    pub(crate) fn put(&self, key: Key, container: Waiting) {
        let mut waiting = self.lock();
        let have = waiting.iter().filter(|(other, _)| *other == key).count();
        if have >= self.each {
            return;
        }
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((key, container));
    }

    /// Ends all that wait.
    pub(crate) fn drain(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Key, Waiting)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
