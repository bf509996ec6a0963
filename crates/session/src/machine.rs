//! The machine of a session: how tier microvm is asked for it, and what has become of it.

use std::path::Path;
use std::time::Duration;

use axo_core::{CpuShare, EffectiveLimits, Size};
use axo_tier_vm::machine::Ending;
use axo_tier_vm::sessions::{self, ContainedSession, SessionMachine};

use crate::container::{AGENTS_END, DEV_CAPABILITIES, Fate};
use crate::means::Means;
use crate::record::Record;
use crate::spec::Profile;
use crate::{SessionError, SessionId, State};

/// Starts the machine of `record`, whose agent listens when this returns.
pub(crate) async fn start(
    means: &Means,
    record: &Record,
    rootfs: &Path,
) -> Result<(), SessionError> {
    let limits = &record.limits;
    let effective = EffectiveLimits {
        cpu: CpuShare::from_cores(limits.cpu).unwrap_or(CpuShare::ONE),
        memory: Size::from_bytes(limits.memory),
        pids: limits.pids,
        files: limits.files,
        disk: Size::from_bytes(limits.scratch),
        ..EffectiveLimits::DEFAULT
    };
    let arguments = [
        "--idle".to_owned(),
        limits.idle.to_string(),
        "--total".to_owned(),
        limits.total.to_string(),
    ];
    let directory = record.directory.as_ref().and_then(|path| path.to_str());
    let hostname = record.id.container();
    let wanted = SessionMachine {
        id: record.id.as_str(),
        root: rootfs,
        digest: &record.image_digest,
        session: ContainedSession {
            hostname: &hostname,
            writable: record.profile == Profile::Dev,
            capabilities: match record.profile {
                Profile::Locked => &[],
                Profile::Dev => &DEV_CAPABILITIES,
            },
            directory,
            limits: &effective,
            arguments: &arguments,
        },
        directory: &means.table.socket_directory(&record.id),
        // The agent does it first, and ends what runs in peace.
        total: Duration::from_secs(limits.total.saturating_add(AGENTS_END)),
    };
    let machines = means.machines().await?;
    Ok(machines.start(&wanted).await.map_err(Box::new)?)
}

/// What has become of a session's machine.
pub(crate) async fn look(means: &Means, id: &SessionId) -> Result<Fate, SessionError> {
    Ok(match means.keeper(id).keeps().await? {
        true => Fate::Running,
        // How it ended is told by `ended`.
        false => Fate::Exited { code: 0 },
    })
}

/// To which end it has come, and why.
pub(crate) fn ended(means: &Means, id: &SessionId) -> (State, String) {
    match means.keeper(id).ending() {
        Ending::Itself(last) if sessions::ended_well(&last) => {
            let why = "it ended by itself: its idle or its total time was over, or its agent ended";
            (State::Stopped, why.to_owned())
        }
        Ending::Itself(last) => {
            let why = format!("its machine ended, and said last: {last:?}");
            (State::Lost, why)
        }
        Ending::TotalTime => {
            let why = "its total time was over, and its machine was ended";
            (State::Stopped, why.to_owned())
        }
        Ending::Asked => (
            State::Lost,
            "its machine was ended by somebody else".to_owned(),
        ),
        Ending::Otherwise(how) => (State::Lost, format!("its machine is gone: {how}")),
    }
}

/// The same in words.
pub(crate) fn said(means: &Means, id: &SessionId) -> String {
    ended(means, id).1
}

/// Ends a session's machine, if there is one, and removes what it left.
pub(crate) async fn remove(means: &Means, id: &SessionId) -> Result<(), SessionError> {
    let directory = means.table.socket_directory(id);
    Ok(sessions::end(id.as_str(), &directory).await?)
}
