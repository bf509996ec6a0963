//! Where the tool is between two requests.

use std::cell::RefCell;
use std::path::PathBuf;

use axo_guest_proto::{Code, Failure};

use super::prepare::Prepared;

/// What a tool is made of, besides what the host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// The program that makes containers, `axo-runner`.
    pub(crate) runner: PathBuf,
    /// The tool's root file system.
    pub(crate) image: PathBuf,
    /// The tool's own files, if it has any.
    pub(crate) files: Option<PathBuf>,
}

/// A place for one tool, ever.
pub(crate) struct Slot {
    site: Option<Site>,
    state: RefCell<State>,
}

enum State {
    Free,
    Prepared(Box<Prepared>),
    /// It is being prepared, or runs, or has run, or any of that has failed: nothing of a tool that
    /// was here may reach another.
    Spent,
}

impl Slot {
    /// Without a site, no tool can be prepared.
    pub(crate) fn new(site: Option<Site>) -> Self {
        Self {
            site,
            state: RefCell::new(State::Free),
        }
    }

    /// Takes the place, for good.
    pub(super) fn claim(&self) -> Result<&Site, Failure> {
        let site = self.site.as_ref().ok_or_else(|| {
            let why = "this agent runs no tools";
            Failure::new(Code::Denied, None, why)
        })?;
        let mut state = self.state.borrow_mut();
        if !matches!(*state, State::Free) {
            let why = "a tool was prepared here already";
            return Err(Failure::new(Code::Exists, None, why));
        }
        *state = State::Spent;
        Ok(site)
    }

    pub(super) fn put(&self, prepared: Prepared) {
        *self.state.borrow_mut() = State::Prepared(Box::new(prepared));
    }

    pub(super) fn take(&self) -> Result<Box<Prepared>, Failure> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Spent) {
            State::Prepared(prepared) => Ok(prepared),
            before => {
                *state = before;
                Err(Failure::new(Code::NoTool, None, "no tool is prepared"))
            }
        }
    }

    /// Ends a tool that waits, and lets no other be prepared.
    pub(crate) fn clear(&self) {
        let before = self.state.replace(State::Spent);
        drop(before);
    }
}
