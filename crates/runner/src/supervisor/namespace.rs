//! Leaving the engine's namespaces.

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::step::{Failed, Step as _};

/// Enters new namespaces.
#[expect(unsafe_code, reason = "namespaces are entered by a thread")]
pub(super) fn unshare(what: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: this process has one thread, so nothing relies on what it leaves.
    unsafe { unshare_unsafe(what) }
}

/// Enters a mount namespace whose mounts nobody else sees.
pub(super) fn unshare_mounts() -> Result<(), Failed> {
    unshare(UnshareFlags::NEWNS).step("making a mount namespace")?;
    use rustix::mount::{MountPropagationFlags as Propagation, mount_change};
    // What is unmounted on the host goes here too; nothing goes the other way.
    mount_change("/", Propagation::DOWNSTREAM | Propagation::REC)
        .step("keeping mounts from the host")
}
