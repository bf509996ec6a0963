//! Podman's virtual machine, on systems whose kernel runs no containers.

use std::time::Duration;

use serde::Deserialize;

use super::command::Podman;
use super::error::PodmanError;

/// How long podman may take to list machines: it asks the hypervisor.
const LIST_TIME: Duration = Duration::from_secs(60);
/// How long a machine may take to boot. Its first boot sets it up.
const START_TIME: Duration = Duration::from_secs(10 * 60);

/// What podman has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Running,
    Stopped,
    Missing,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Running", default)]
    running: bool,
}

/// What `podman machine list` says. An answer that cannot be read counts as no machine.
pub(super) async fn machine(podman: &Podman) -> Machine {
    let arguments = ["machine", "list", "--format", "json"];
    // Nothing, on a host that never had one, is `null` in some releases.
    match podman
        .ask::<Option<Vec<Listed>>>(arguments, LIST_TIME)
        .await
    {
        Ok(Some(listed)) if listed.iter().any(|machine| machine.running) => Machine::Running,
        Ok(Some(listed)) if !listed.is_empty() => Machine::Stopped,
        Ok(_) => Machine::Missing,
        Err(error) => {
            tracing::debug!(%error, "podman's machines cannot be listed");
            Machine::Missing
        }
    }
}

/// Starts it. One that runs already is started.
pub(super) async fn start(podman: &Podman) -> Result<(), PodmanError> {
    let failed = |why| PodmanError::MachineStart { why };
    let output = podman
        .run(["machine", "start"], START_TIME)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    // `VM already running or starting`, `unable to start "podman-machine-default": already running`.
    if output.status.success() || text.contains("already running") {
        return Ok(());
    }
    Err(failed(output.said()))
}
