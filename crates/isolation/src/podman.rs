//! Podman readiness of the published crate `axocoatl-isolation` 0.1: its names, defaults and errors.
//!
//! [`PodmanReadiness::Ready`] means that podman is there and answers. Whether a container of ours starts
//! is found out by starting one: [`prove`]; `axocoatl doctor` does.

pub use axo_session::podman::{
    Bridge, Cause, Combination, Finding as PodmanFinding, Host, Os, Plan, PodmanError,
    PodmanReadiness, ProbeRequest, Probed, Progress, Proof, Repair, Step, Unready, detect,
    manual_install_hint, plan,
};

use axo_core::BoxError;

use crate::Places;
use crate::isolation_error::IsolationError;

/// Makes podman usable: starts its machine if that is stopped, installs it if it is missing. A machine
/// that does not exist is not made: that downloads an image, and is the user's to decide.
///
/// # Errors
/// [`IsolationError::OciSetupFailed`] with the command to run by hand.
pub async fn ensure_ready() -> Result<(), IsolationError> {
    axo_session::podman::ensure_ready()
        .await
        .map_err(|error| IsolationError::OciSetupFailed(crate::audit::chain(&error)))
}

/// Starts a container of ours, and says how that works here or what stops it. `bridge` asks whether it
/// can be connected to the network, too. What was found is kept for sessions.
///
/// # Errors
/// If podman cannot be run at all though it is there, or a directory of ours cannot be used.
pub async fn prove(places: &Places, bridge: bool) -> Result<Probed, BoxError> {
    axo_session::prove(&places.data, bridge)
        .await
        .map_err(Into::into)
}

/// The same after repairing what can be repaired without a person: packages are installed and settings
/// written, each told to `progress`.
///
/// # Errors
/// As [`prove`], and if a step that was needed failed.
pub async fn repair(
    places: &Places,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Probed, BoxError> {
    axo_session::repair(&places.data, progress)
        .await
        .map_err(Into::into)
}
