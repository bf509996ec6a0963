//! What this host offers for containers, and what it lacks.

mod cgroups;
mod users;

pub use cgroups::CgroupDriver;
pub(crate) use cgroups::{CgroupHost, PREFIX, reap};
pub(crate) use users::UserHost;

/// Why this host cannot run containers, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub(crate) reason: String,
    pub(crate) fix: String,
}

impl Lacking {
    pub(crate) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

/// What containers are made with on this host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) cgroups: CgroupHost,
    pub(crate) users: UserHost,
}

impl Host {
    /// Looks at the host, and changes nothing.
    pub(crate) fn examine(driver: CgroupDriver) -> Result<Self, Lacking> {
        Ok(Self {
            users: UserHost::examine()?,
            cgroups: CgroupHost::examine(driver)?,
        })
    }
}
