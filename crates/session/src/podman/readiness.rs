//! Whether there is a podman that could be asked for a container: the quick answer. Whether a container
//! starts is what [`probe`](super::probe) finds out.

use std::time::Duration;

use super::command::Podman;
use super::error::PodmanError;
use super::host::Host;
use super::machine::{self, Machine, machine};
use super::repair::{install_podman, manual};
use super::version::Version;

/// How long podman may take to say its version: 30 ms here, and 8 s where the processor is emulated and
/// the disk is cold.
const VERSION_TIME: Duration = Duration::from_secs(60);

/// How far podman is on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodmanReadiness {
    /// It is installed, and its virtual machine runs where it needs one.
    Ready,
    /// It is not on the search path, or does not answer.
    NotInstalled,
    /// It needs a virtual machine, and has none.
    MachineMissing,
    /// It has one that does not run.
    MachineStopped,
}

impl PodmanReadiness {
    /// One line of status for this process's host, with what to do.
    #[must_use]
    pub fn summary(&self) -> String {
        self.summary_on(&Host::of_process())
    }

    /// One line of status for a host, with what to do.
    #[must_use]
    pub fn summary_on(&self, host: &Host) -> String {
        match self {
            Self::Ready => "podman: ready".to_owned(),
            Self::NotInstalled => format!("podman: not installed; install it: {}", manual(host)),
            Self::MachineMissing => {
                "podman: installed, without a virtual machine to run containers in; make one and \
                 start it: podman machine init && podman machine start"
                    .to_owned()
            }
            Self::MachineStopped => {
                "podman: installed, its virtual machine is stopped; start it: podman machine start"
                    .to_owned()
            }
        }
    }
}

/// How far podman is on this process's host. Changes nothing.
pub async fn detect() -> PodmanReadiness {
    detect_on(&Host::of_process()).await
}

/// How far podman is on a host. Changes nothing.
pub async fn detect_on(host: &Host) -> PodmanReadiness {
    look(host).await.readiness
}

/// Makes podman ready on this process's host: installs it and starts its virtual machine, as far as
/// nobody has to be asked.
///
/// # Errors
/// With the commands to run by hand, if it is not ready then.
pub async fn ensure_ready() -> Result<(), PodmanError> {
    ensure_ready_on(&Host::of_process()).await
}

/// The same on a host.
///
/// # Errors
/// As [`ensure_ready`].
pub async fn ensure_ready_on(host: &Host) -> Result<(), PodmanError> {
    let mut look_at = look(host).await;
    if look_at.readiness == PodmanReadiness::NotInstalled {
        install_podman(host).await?;
        look_at = look(host).await;
    }
    match (look_at.readiness, look_at.podman) {
        (PodmanReadiness::Ready, _) => Ok(()),
        (PodmanReadiness::MachineStopped, Some(podman)) => machine::start(&podman).await,
        // What it downloads is large, and a user's deliberate act.
        (PodmanReadiness::MachineMissing, _) => Err(PodmanError::MachineMissing),
        (PodmanReadiness::NotInstalled | PodmanReadiness::MachineStopped, _) => {
            Err(PodmanError::NotInstalled {
                manual: manual(host),
            })
        }
    }
}

/// What installs podman by hand on this process's host; where no way is known, podman's page.
#[must_use]
pub fn manual_install_hint() -> &'static str {
    manual_install_hint_on(&Host::of_process())
}

/// The same for a host.
#[must_use]
pub fn manual_install_hint_on(host: &Host) -> &'static str {
    manual(host)
}

/// What looking at podman shows.
pub(super) struct Look {
    pub(super) readiness: PodmanReadiness,
    /// If it is on the search path.
    pub(super) podman: Option<Podman>,
    /// If it answers.
    pub(super) version: Option<Version>,
    /// Why it does not, fit to be shown.
    pub(super) silence: String,
}

pub(super) async fn look(host: &Host) -> Look {
    let Some(podman) = Podman::find(host) else {
        return Look {
            readiness: PodmanReadiness::NotInstalled,
            podman: None,
            version: None,
            silence: "podman is not on the search path".to_owned(),
        };
    };
    let answered = async {
        let output = podman.run(["--version"], VERSION_TIME).await?;
        output.succeeded()
    };
    let (readiness, version, silence) = match answered.await {
        Err(error) => (PodmanReadiness::NotInstalled, None, error.to_string()),
        Ok(answer) => {
            let version = Version::of_answer(&String::from_utf8_lossy(&answer.stdout));
            let readiness = match host.os().needs_machine() {
                false => PodmanReadiness::Ready,
                true => match machine(&podman).await {
                    Machine::Running => PodmanReadiness::Ready,
                    Machine::Stopped => PodmanReadiness::MachineStopped,
                    Machine::Missing => PodmanReadiness::MachineMissing,
                },
            };
            (readiness, version, String::new())
        }
    };
    Look {
        readiness,
        podman: Some(podman),
        version,
        silence,
    }
}
