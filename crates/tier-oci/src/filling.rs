//! Which tools' sandboxes are being made for later calls: one filling a tool, however many calls
//! ask for one.
//!
//! What waits is held open (a tool, the sources of its mounts), so no more than one order a tool
//! waits: the newest.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axo_core::SpecId;

/// The fillings under way, each with the newest order that has come meanwhile.
pub struct Fillings<T>(Mutex<HashMap<SpecId, Option<T>>>);

impl<T> Default for Fillings<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Fillings<T> {
    /// Begins to fill for a tool. `None` if that is under way: it comes to this order later.
    pub fn begin(&self, tool: SpecId, order: T) -> Option<(Filling<'_, T>, T)> {
        let mut all = self.lock();
        if let Some(waits) = all.get_mut(&tool) {
            *waits = Some(order);
            return None;
        }
        all.insert(tool, None);
        drop(all);
        let filling = Filling {
            all: self,
            tool,
            ended: false,
        };
        Some((filling, order))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SpecId, Option<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One tool's filling, as long as it lives.
pub struct Filling<'a, T> {
    all: &'a Fillings<T>,
    tool: SpecId,
    ended: bool,
}

impl<T> Filling<'_, T> {
    /// What has come meanwhile; without anything the filling has ended.
    pub fn newest(&mut self) -> Option<T> {
        let mut all = self.all.lock();
        let next = all.get_mut(&self.tool).and_then(Option::take);
        if next.is_none() {
            // At once, so that no order comes between looking and ending.
            all.remove(&self.tool);
            self.ended = true;
        }
        next
    }
}

impl<T> Drop for Filling<'_, T> {
    fn drop(&mut self) {
        if !self.ended {
            self.all.lock().remove(&self.tool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axo_core::{Requirement, Run, ToolName, ToolSpec};

    fn tool() -> SpecId {
        let name = ToolName::parse("t").unwrap();
        ToolSpec::new(name, Requirement::ContainerImage, Run::Function).id()
    }

    #[test]
    fn a_tool_is_filled_for_once_and_only_the_newest_order_waits() {
        let (fillings, one, other) = (Fillings::default(), tool(), tool());
        let (mut filling, first) = fillings.begin(one, 1).unwrap();
        assert_eq!(first, 1);
        for order in 2..1000 {
            assert!(fillings.begin(one, order).is_none());
        }
        assert!(fillings.begin(other, 0).is_some(), "another tool waits");
        assert_eq!((filling.newest(), filling.newest()), (Some(999), None));
        let (filling, _) = fillings.begin(one, 1000).expect("the first has ended");
        drop(filling);
        assert!(fillings.begin(one, 1001).is_some(), "it was given up");
    }
}
