//! The output of a process: retained, told to those who follow it, and held back for some of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use axo_guest_proto::{Kind, bounds};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::ring::Ring;

/// Who takes nothing for so long is no longer waited for.
const STALLED: Duration = Duration::from_secs(5 * 60);

/// What a process may keep for slow followers when all together keep too much, in bytes.
const SHARE: usize = 16 << 10;

/// How often a process looks whether all together keep less.
const LOOK: Duration = Duration::from_millis(50);

/// Memory of the output of all processes.
#[derive(Clone, Default)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    pub(super) fn used(&self) -> usize {
        self.0.get()
    }

    /// By how much it is too much.
    pub(super) fn excess(&self) -> usize {
        let most = usize::try_from(bounds::MAX_RETAIN).unwrap_or(usize::MAX);
        self.used().saturating_sub(most)
    }

    fn change(&self, before: usize, after: usize) {
        self.0.set(self.0.get() - before + after);
    }
}

/// The output of one process.
pub(super) struct Output {
    ring: RefCell<Ring>,
    followers: RefCell<BTreeMap<u64, Follower>>,
    next_follower: Cell<u64>,
    budget: Budget,
    /// Streams that may still bring what the process itself wrote.
    unsettled: Cell<usize>,
    /// Offset after the last byte that the process itself wrote, once that is sure.
    settled: Cell<Option<u64>>,
    news: Notify,
    room_made: Notify,
}

struct Follower {
    /// Offset of the next byte it gets.
    at: u64,
    lossless: bool,
    /// When it last took something.
    taken: Instant,
}

impl Output {
    pub(super) fn new(retain: u64, streams: usize, budget: Budget) -> Self {
        let capacity = retain.clamp(bounds::MIN_RETAIN, bounds::MAX_RETAIN);
        Self {
            ring: RefCell::new(Ring::new(usize::try_from(capacity).unwrap_or(SHARE))),
            followers: RefCell::default(),
            next_follower: Cell::new(0),
            budget,
            unsettled: Cell::new(streams),
            settled: Cell::new(None),
            news: Notify::new(),
            room_made: Notify::new(),
        }
    }

    pub(super) fn oldest(&self) -> u64 {
        self.ring.borrow().oldest()
    }

    pub(super) fn newest(&self) -> u64 {
        self.ring.borrow().newest()
    }

    pub(super) fn cost(&self) -> usize {
        self.ring.borrow().cost()
    }

    /// Appends what was read.
    pub(super) fn push(&self, kind: Kind, bytes: &[u8]) {
        let keep = self.awaited();
        let mut ring = self.ring.borrow_mut();
        for follower in self.followers.borrow_mut().values_mut() {
            // Who had nothing to take did not stall.
            if follower.at >= ring.newest() {
                follower.taken = Instant::now();
            }
        }
        let before = ring.cost();
        ring.push(kind, bytes, keep);
        self.budget.change(before, ring.cost());
        self.news.notify_waiters();
    }

    /// Gives up memory that nobody is waited for with.
    pub(super) fn give_up(&self, cost: usize) -> usize {
        let keep = self.awaited();
        let mut ring = self.ring.borrow_mut();
        let before = ring.cost();
        let given = ring.give_up(cost, keep);
        self.budget.change(before, ring.cost());
        given
    }

    /// How much may be read now, so that nobody who is waited for loses any. Waits until it is some.
    pub(super) async fn room(&self, most: usize) -> usize {
        loop {
            let made = self.room_made.notified();
            let held = self.ring.borrow().cost_from(self.awaited());
            let room = self.ring.borrow().capacity().saturating_sub(held);
            let crowded = self.budget.excess() > 0 && held > SHARE;
            if room > 0 && !crowded {
                return room.min(most);
            }
            let patience = self.leave_stalled_behind();
            tokio::select! {
                () = made => {}
                () = sleep(LOOK), if crowded => {}
                () = sleep_until(patience) => {}
            }
        }
    }

    /// Ceases to wait for those who took nothing for too long. Says when to look again.
    fn leave_stalled_behind(&self) -> Instant {
        let now = Instant::now();
        let newest = self.newest();
        let mut soonest = now + STALLED;
        for follower in self.followers.borrow_mut().values_mut() {
            if follower.lossless && follower.at < newest {
                let due = follower.taken + STALLED;
                follower.lossless = due > now;
                soonest = soonest.min(due.max(now));
            }
        }
        soonest
    }

    /// Offset of the first byte that somebody is waited for with.
    fn awaited(&self) -> u64 {
        let followers = self.followers.borrow();
        let waited_for = followers.values().filter(|follower| follower.lossless);
        waited_for
            .map(|follower| follower.at)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// A stream has brought all that the process itself wrote, or has ended.
    pub(super) fn settle_one(&self) {
        self.unsettled.set(self.unsettled.get().saturating_sub(1));
        self.settle_if_all();
    }

    fn settle_if_all(&self) {
        if self.unsettled.get() == 0 && self.settled.get().is_none() {
            self.settled.set(Some(self.newest()));
            self.news.notify_waiters();
        }
    }

    /// Offset after the last byte that the process itself wrote, once it has ended and that is sure.
    pub(super) fn settled(&self) -> Option<u64> {
        self.settled.get()
    }

    /// Until there is more, or it is settled. To be called before looking.
    pub(super) fn news(&self) -> tokio::sync::futures::Notified<'_> {
        self.news.notified()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.budget.change(self.cost(), 0);
    }
}

/// A place in the output of a process, which moves on.
pub(super) struct Cursor<'a> {
    output: &'a Output,
    key: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(output: &'a Output, at: u64, lossless: bool) -> Self {
        let key = output.next_follower.get();
        output.next_follower.set(key + 1);
        let follower = Follower {
            at,
            lossless,
            taken: Instant::now(),
        };
        output.followers.borrow_mut().insert(key, follower);
        Self { output, key }
    }

    pub(super) fn at(&self) -> u64 {
        let followers = self.output.followers.borrow();
        followers.get(&self.key).map_or(0, |follower| follower.at)
    }

    /// Bytes that were given up before they could be taken. Moves behind them.
    pub(super) fn lost(&self) -> u64 {
        let oldest = self.output.oldest();
        let mut followers = self.output.followers.borrow_mut();
        let Some(follower) = followers.get_mut(&self.key) else {
            return 0;
        };
        let lost = oldest.saturating_sub(follower.at);
        follower.at += lost;
        lost
    }

    /// Appends frames of what comes next to a buffer, and moves behind it.
    pub(super) fn take(&self, most: usize, buffer: &mut Vec<u8>) {
        if let Some(follower) = self.output.followers.borrow_mut().get_mut(&self.key) {
            let before = follower.at;
            follower.at = self.output.ring.borrow().frames(before, most, buffer);
            if follower.at > before {
                follower.taken = Instant::now();
            }
        }
        self.output.room_made.notify_waiters();
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        self.output.followers.borrow_mut().remove(&self.key);
        self.output.room_made.notify_waiters();
    }
}
