//! What all connections share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::process::Table;
use crate::surroundings::{Surroundings, give_memory_back};
use crate::tool::Slot;

/// Most connections at once. A further one is closed at once.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// So many connections at once leave memory behind that is worth looking for.
const CROWD: usize = 64;

/// The agent.
pub(crate) struct Agent {
    pub(crate) table: Table,
    pub(crate) tool: Slot,
    standing: Standing,
    pub(crate) surroundings: Surroundings,
    pub(crate) started: Instant,
    connections: Cell<usize>,
    /// The most since there was none.
    crowd: Cell<usize>,
    /// When the last connection closed.
    alone_since: Cell<Instant>,
    ending: RefCell<Option<End>>,
    end_asked: Notify,
}

/// What the agent is where it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A process among others.
    Guest,
    /// The first process of a machine, which is all ours.
    Machine,
}

/// Why and how the agent ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) why: String,
    /// Between `SIGTERM` and `SIGKILL`.
    pub(crate) grace: Duration,
}

impl Agent {
    pub(crate) fn new(surroundings: Surroundings, tool: Slot, standing: Standing) -> Self {
        Self {
            table: Table::default(),
            tool,
            standing,
            surroundings,
            started: Instant::now(),
            connections: Cell::new(0),
            crowd: Cell::new(0),
            alone_since: Cell::new(Instant::now()),
            ending: RefCell::new(None),
            end_asked: Notify::new(),
        }
    }

    pub(crate) fn is_of_machine(&self) -> bool {
        self.standing == Standing::Machine
    }

    /// Counts a connection as long as what is returned lives; none if there are too many.
    pub(crate) fn admit(self: &Rc<Self>) -> Option<Open> {
        let connections = self.connections.get();
        if connections >= MAX_CONNECTIONS {
            return None;
        }
        self.connections.set(connections + 1);
        self.crowd.set(self.crowd.get().max(connections + 1));
        Some(Open(Rc::clone(self)))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Since when there has been no connection.
    pub(crate) fn alone_since(&self) -> Option<Instant> {
        (self.connections.get() == 0).then(|| self.alone_since.get())
    }

    /// Begins to end. The first reason counts.
    pub(crate) fn end(&self, end: End) {
        self.ending.borrow_mut().get_or_insert(end);
        self.end_asked.notify_waiters();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Until it begins to end.
    pub(crate) async fn ending(&self) -> End {
        loop {
            let asked = self.end_asked.notified();
            if let Some(end) = &*self.ending.borrow() {
                return end.clone();
            }
            asked.await;
        }
    }
}

/// A connection that is counted.
pub(crate) struct Open(Rc<Agent>);

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.0.connections.get() - 1;
        self.0.connections.set(left);
        self.0.alone_since.set(Instant::now());
        if left == 0 && self.0.crowd.replace(0) >= CROWD {
            give_memory_back();
        }
    }
}
