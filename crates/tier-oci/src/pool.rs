//! The warm pool: sandboxes that wait, each for one call of one tool.
//!
//! A sandbox belongs to a [`Key`]: everything that it was made of. A call takes one of its own key
//! or makes one; what was made for another key of the same tool is ended then. None is used twice.
//!
//! What a sandbox is, the tier says: a container in the OCI state `created`, or a machine.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axo_core::SpecId;

/// What a sandbox was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// The tool.
    pub tool: SpecId,
    /// Its contents, limits, mounts and user.
    pub made_of: Arc<str>,
}

/// Sandboxes that wait for calls. Dropped, they end.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    each: usize,
    most: usize,
    lives: fn(&T) -> bool,
}

struct State<T> {
    /// The longest waiting first.
    waiting: VecDeque<(Key, T)>,
    /// The key of each tool's newest call: nothing is kept for an older one.
    newest: HashMap<SpecId, Key>,
}

impl<T> Pool<T> {
    /// Keeps `each` sandboxes a tool, and `most` of all tools together. `lives` says without waiting
    /// whether one can still be used.
    #[must_use]
    pub fn new(each: usize, most: usize, lives: fn(&T) -> bool) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                newest: HashMap::new(),
            }),
            each: each.min(most),
            most,
            lives,
        }
    }

    /// Takes a sandbox of `key`, and ends those of the same tool that are of another.
    pub fn take(&self, key: &Key) -> Option<T> {
        if self.each == 0 {
            return None;
        }
        let mut state = self.lock();
        state.newest.insert(key.tool, key.clone());
        let waiting = &mut state.waiting;
        waiting.retain(|(other, _)| other.tool != key.tool || other == key);
        while let Some(at) = waiting.iter().position(|(other, _)| other == key) {
            let taken = waiting.remove(at).map(|(_, sandbox)| sandbox);
            // One whose runner was killed meanwhile is of no use.
            if let Some(sandbox) = taken.filter(self.lives) {
                return Some(sandbox);
            }
        }
        None
    }

    /// How many more sandboxes of `key` are wanted.
    pub fn wants(&self, key: &Key) -> usize {
        self.lock().wants(key, self.each)
    }

    /// Keeps a sandbox for a later call, if one more is wanted. Else it ends.
    pub fn put(&self, key: Key, sandbox: T) {
        let mut state = self.lock();
        if state.wants(&key, self.each) == 0 {
            return;
        }
        if state.waiting.len() >= self.most {
            state.waiting.pop_front();
        }
        state.waiting.push_back((key, sandbox));
    }

    /// Ends all that wait.
    pub fn drain(&self) {
        self.lock().waiting.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn wants(&self, key: &Key, each: usize) -> usize {
        let newest = self.newest.get(&key.tool);
        if newest.is_some_and(|newest| newest != key) {
            return 0;
        }
        let have = self.waiting.iter().filter(|(other, _)| other == key);
        each.saturating_sub(have.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axo_core::{Requirement, Run, ToolName, ToolSpec};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A sandbox of a number, which lives as long as somebody has it and nobody killed it.
    struct Sandbox(u32, Arc<AtomicBool>);

    impl Sandbox {
        fn new(number: u32) -> (Self, Arc<AtomicBool>) {
            let alive = Arc::new(AtomicBool::new(true));
            (Self(number, Arc::clone(&alive)), alive)
        }
    }

    impl Drop for Sandbox {
        fn drop(&mut self) {
            self.1.store(false, Ordering::Relaxed);
        }
    }

    fn pool(each: usize, most: usize) -> Pool<Sandbox> {
        Pool::new(each, most, |sandbox| sandbox.1.load(Ordering::Relaxed))
    }

    fn key(tool: SpecId, made_of: &str) -> Key {
        let made_of = made_of.into();
        Key { tool, made_of }
    }

    fn tool() -> SpecId {
        let name = ToolName::parse("t").unwrap();
        ToolSpec::new(name, Requirement::ContainerImage, Run::Function).id()
    }

    #[test]
    fn each_is_taken_once_and_no_more_wait_than_asked_for() {
        let (pool, key) = (pool(2, 64), key(tool(), "a"));
        assert_eq!(pool.wants(&key), 2);
        let alive: Vec<_> = (0..3)
            .map(|number| {
                let (sandbox, alive) = Sandbox::new(number);
                pool.put(key.clone(), sandbox);
                alive
            })
            .collect();
        assert_eq!(pool.wants(&key), 0);
        assert!(!alive[2].load(Ordering::Relaxed), "one too many waits");
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(&key)).collect();
        let numbers: Vec<_> = taken.iter().map(|sandbox| sandbox.0).collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn what_died_while_it_waited_is_not_taken() {
        let (pool, key) = (pool(3, 64), key(tool(), "a"));
        for number in 0..3 {
            let (sandbox, alive) = Sandbox::new(number);
            pool.put(key.clone(), sandbox);
            alive.store(number == 2, Ordering::Relaxed);
        }
        assert_eq!(pool.take(&key).map(|sandbox| sandbox.0), Some(2));
        assert!(pool.take(&key).is_none());
        assert_eq!(pool.wants(&key), 3);
    }

    #[test]
    fn what_was_made_for_an_older_call_of_the_tool_ends_and_is_not_kept() {
        let (pool, tool) = (pool(2, 64), tool());
        let (old, new) = (key(tool, "old"), key(tool, "new"));
        let (sandbox, alive) = Sandbox::new(0);
        pool.put(old.clone(), sandbox);
        let other = key(self::tool(), "old");
        let (sandbox, others) = Sandbox::new(1);
        pool.put(other.clone(), sandbox);
        assert!(pool.take(&new).is_none());
        assert!(!alive.load(Ordering::Relaxed) && others.load(Ordering::Relaxed));
        // One that was being made meanwhile.
        assert_eq!(pool.wants(&old), 0);
        let (sandbox, late) = Sandbox::new(2);
        pool.put(old.clone(), sandbox);
        assert!(!late.load(Ordering::Relaxed));
        assert!(pool.take(&other).is_some());
    }

    #[test]
    fn beyond_the_bound_of_all_the_longest_waiting_ends_and_drained_all_do() {
        let pool = pool(2, 3);
        let alive: Vec<_> = (0..4)
            .map(|number| {
                let (sandbox, alive) = Sandbox::new(number);
                pool.put(key(tool(), "a"), sandbox);
                alive
            })
            .collect();
        let living = || -> Vec<bool> { alive.iter().map(|a| a.load(Ordering::Relaxed)).collect() };
        assert_eq!(living(), [false, true, true, true]);
        pool.drain();
        assert_eq!(living(), [false; 4]);
    }

    #[test]
    fn a_pool_of_none_keeps_and_gives_none() {
        let (pool, key) = (pool(0, 64), key(tool(), "a"));
        assert_eq!(pool.wants(&key), 0);
        let (sandbox, alive) = Sandbox::new(0);
        pool.put(key.clone(), sandbox);
        assert!(!alive.load(Ordering::Relaxed) && pool.take(&key).is_none());
    }
}
