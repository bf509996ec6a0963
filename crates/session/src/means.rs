//! What sessions are made with: the table, and podman and machines as they work on this host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use axo_tier_vm::machine::Keeper;
use axo_tier_vm::sessions::SessionMachines;

use crate::container::Containers;
use crate::host::SessionHost;
use crate::podman::{self, Finding, Host, Podman, ProbeRequest, Probed, Progress, Unready};
use crate::table::{Table, private_directory};
use crate::{SessionError, SessionId, SessionTier, agent_program, seccomp};

/// What sessions are made with. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) table: Table,
    /// Found when first needed: most of what is done with a session needs no podman.
    containers: Arc<OnceCell<Arc<Containers>>>,
    /// The same of machines: what is done with one that runs needs its keeper alone.
    machines: Arc<OnceCell<Arc<SessionMachines>>>,
    /// Where tier microvm is set up, and keeps what it makes.
    data: PathBuf,
}

impl Means {
    pub(crate) fn new(table: Table, data: PathBuf) -> Self {
        Self {
            table,
            containers: Arc::default(),
            machines: Arc::default(),
            data,
        }
    }

    /// What sessions of `tier` live in.
    pub(crate) async fn host(&self, tier: SessionTier) -> Result<SessionHost, SessionError> {
        Ok(match tier {
            SessionTier::Podman => {
                SessionHost::Podman(self.containers().await?, self.table.clone())
            }
            SessionTier::MicroVm => SessionHost::Machine(self.clone()),
        })
    }

    /// Tier microvm, looked at now if it was not before.
    pub(crate) async fn machines(&self) -> Result<Arc<SessionMachines>, SessionError> {
        let examine = || async {
            let data = self.data.clone();
            let examined =
                tokio::task::spawn_blocking(move || SessionMachines::examine(&data, &data)).await;
            match examined {
                Ok(examined) => Ok(Arc::new(examined.map_err(Box::new)?)),
                Err(_) => Err(SessionError::Unready(
                    "looking at this host was given up".to_owned(),
                )),
            }
        };
        let found = self.machines.get_or_try_init(examine);
        found.await.map(Arc::clone)
    }

    /// The keeper of a session's machine.
    pub(crate) fn keeper(&self, id: &SessionId) -> Keeper {
        Keeper::in_directory(self.table.socket_directory(id))
    }

    /// Podman with the combination that was proved on this host, proved now if it was not before.
    pub(crate) async fn containers(&self) -> Result<Arc<Containers>, SessionError> {
        let found = self.containers.get_or_try_init(|| self.prepare());
        found.await.map(Arc::clone)
    }

    async fn prepare(&self) -> Result<Arc<Containers>, SessionError> {
        let directory = shared(&self.table)?;
        let agent = agent_program::install(&directory)?;
        let host = Host::of_process();
        let proof = match podman::working(&host, &request(&directory, &agent, false)).await? {
            Probed::Ready(proof) => proof,
            Probed::Unready(unready) => return Err(SessionError::Unready(why(&unready))),
        };
        let podman = Podman::find(&host)
            .ok_or_else(|| SessionError::Unready("podman is gone".to_owned()))?
            .with(&proof.combination);
        Ok(Arc::new(Containers {
            podman,
            combination: proof.combination,
            owner: self.table.owner()?,
            agent,
            seccomp: seccomp::write_profile(&directory)?,
        }))
    }

    /// Whether podman is there at all.
    pub(crate) fn has_podman(&self) -> bool {
        Podman::find(&Host::of_process()).is_some()
    }
}

/// Starts a container of ours, and says how that works here or what stops it. What works is kept for
/// the sessions of `data`.
///
/// # Errors
/// If podman cannot be run at all though it is there, or the directory cannot be used.
pub async fn prove(data: &Path, bridge: bool) -> Result<Probed, SessionError> {
    Ok(podman::probe(&Host::of_process(), &request_of(data, bridge)?).await?)
}

/// The same after repairing what can be repaired without a person. Changes the host.
///
/// # Errors
/// As [`prove`], and if a step that was needed failed.
pub async fn repair(
    data: &Path,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Probed, SessionError> {
    Ok(podman::fix(&Host::of_process(), &request_of(data, false)?, progress).await?)
}

fn request_of(data: &Path, bridge: bool) -> Result<ProbeRequest, SessionError> {
    private_directory(&data.join("sessions"))?;
    let directory = data.join("sessions").join("shared");
    private_directory(&directory)?;
    let agent = agent_program::install(&directory)?;
    Ok(request(&directory, &agent, bridge))
}

fn request(directory: &Path, agent: &Path, bridge: bool) -> ProbeRequest {
    ProbeRequest {
        program: agent.to_owned(),
        directory: directory.to_owned(),
        bridge,
    }
}

/// Where what all sessions share is kept.
fn shared(table: &Table) -> Result<PathBuf, SessionError> {
    let directory = table.shared().join("shared");
    private_directory(&directory)?;
    Ok(directory)
}

/// What stops podman, in one line.
fn why(unready: &Unready) -> String {
    let all: Vec<String> = unready.findings.iter().map(Finding::to_string).collect();
    match all.is_empty() {
        true => "for an unknown reason".to_owned(),
        false => all.join("; "),
    }
}
