//! What this host offers for containers, and what it lacks.

mod cgroups;
mod devices;
mod limits;
mod reap;
mod users;

pub use cgroups::{CgroupDriver, CgroupHost, PREFIX};
pub(crate) use limits::{v2_limits, v2_settings};
pub use reap::reap_of;
pub(crate) use reap::{reap, reap_sandbox};
pub(crate) use users::UserHost;

use axo_core::Readiness;

/// Why this host cannot run sandboxes, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What is missing.
    pub reason: String,
    /// What would help.
    pub fix: String,
}

impl From<&Unavailable> for Readiness {
    fn from(unavailable: &Unavailable) -> Self {
        Self::Unavailable {
            reason: unavailable.reason.clone(),
            fix: unavailable.fix.clone(),
        }
    }
}

impl Unavailable {
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
    /// Looks at the host, and changes nothing: not even a cgroup's controllers.
    pub(crate) fn examine(driver: CgroupDriver) -> Result<Self, Unavailable> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        kernel_is_new_enough(release.trim())?;
        Ok(Self {
            users: UserHost::examine()?,
            cgroups: CgroupHost::examine(driver)?,
        })
    }
}

/// Every sandbox's mounts are restricted by `mount_setattr(2)`, which came with this version.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// What cannot be told is not refused: making a sandbox will say it.
fn kernel_is_new_enough(release: &str) -> Result<(), Unavailable> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Ok(());
    };
    if (major, minor) >= OLDEST_KERNEL {
        return Ok(());
    }
    let (major, minor) = OLDEST_KERNEL;
    Err(Unavailable::new(
        format!("the kernel is Linux {release}, which cannot restrict a sandbox's mounts"),
        format!("boot Linux {major}.{minor} or newer"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_too_old_is_refused_with_the_version_that_is_needed() {
        for new in ["5.12.0", "5.14.0-427.el9", "6.18.44-fc", "10.0", "", "odd"] {
            assert_eq!(kernel_is_new_enough(new), Ok(()), "{new}");
        }
        for old in ["5.11.22", "5.4.0-150-generic", "4.18.0-553.el8", "3.10"] {
            let unavailable = kernel_is_new_enough(old).unwrap_err();
            assert!(unavailable.fix.contains("5.12"), "{old}");
        }
    }
}
