//! The warm pool: containers in the OCI state `created`, each for one call of one tool.
//!
//! A container belongs to a [`Key`]: everything that it was made of. A call takes one of its own key
//! or makes one; what was made for another key of the same tool is ended then. None is used twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axo_core::SpecId;

use crate::sandbox::Waiting;

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
    state: Mutex<State>,
    each: usize,
}

#[derive(Default)]
struct State {
    /// The longest waiting first.
    waiting: VecDeque<(Key, Waiting)>,
    /// The key of each tool's newest call: nothing is kept for an older one.
    newest: HashMap<SpecId, Key>,
}

impl Pool {
    /// Keeps `each` containers a tool.
    pub(crate) fn new(each: usize) -> Self {
        Self {
            state: Mutex::default(),
            each: each.min(MAX_WAITING),
        }
    }

    /// Takes a container of `key`, and ends those of the same tool that are of another.
    pub(crate) fn take(&self, key: &Key) -> Option<Waiting> {
        if self.each == 0 {
            return None;
        }
        let mut state = self.lock();
        state.newest.insert(key.tool, key.clone());
        let waiting = &mut state.waiting;
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
        let state = self.lock();
        if state
            .newest
            .get(&key.tool)
            .is_some_and(|newest| newest != key)
        {
            return 0;
        }
        let have = state
            .waiting
            .iter()
            .filter(|(other, _)| other == key)
            .count();
        self.each.saturating_sub(have)
    }

    /// Keeps a container for a later call.
    pub(crate) fn put(&self, key: Key, container: Waiting) {
        // `wants` takes the lock itself.
        if self.wants(&key) == 0 {
            return;
        }
        let waiting = &mut self.lock().waiting;
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((key, container));
    }

    /// Ends all that wait.
    pub(crate) fn drain(&self) {
        self.lock().waiting.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
