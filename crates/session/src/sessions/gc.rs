//! Removing what ended sessions left.

use std::sync::Arc;

use super::{Damaged, Sessions};
use crate::container::Containers;
use crate::{SessionError, SessionId, SessionTier, machine};

/// What [`Sessions::gc`] removed, or would.
#[derive(Debug, Default)]
pub struct Collected {
    /// Sessions that ended: their records.
    pub records: Vec<SessionId>,
    /// Containers and directories without a record.
    pub strays: Vec<SessionId>,
    /// What could not be removed, and why.
    pub failed: Vec<(SessionId, SessionError)>,
    /// Sessions that stay because it cannot be told what has become of them.
    pub damaged: Vec<Damaged>,
    /// Why nothing of podman's was looked at or removed, where podman is there and does not work.
    pub podman: Option<SessionError>,
}

/// What may have containers of ours.
enum Podman {
    /// It is not there.
    Absent,
    /// Asked once; later questions cost no search for how it works.
    Works(Arc<Containers>),
    /// It is not asked again: one that hangs does for minutes.
    Broken,
}

impl Sessions {
    /// Removes what ended sessions left: their records, and containers and directories of ours that
    /// have no record. Nothing of another owner is touched. Where podman does not work, what may be
    /// podman's stays, and the rest goes.
    ///
    /// # Errors
    /// If the table cannot be listed.
    pub async fn gc(&self, dry_run: bool) -> Result<Collected, SessionError> {
        let mut collected = Collected::default();
        let (podman, containers) = match self.podman().await {
            Ok(found) => found,
            Err(error) => {
                collected.podman = Some(error);
                (Podman::Broken, Vec::new())
            }
        };
        let mut with_record = Vec::new();
        let (records, unreadable) = self.inner.table.all()?;
        collected
            .damaged
            .extend(unreadable.into_iter().map(Damaged::from));
        for record in records {
            let (id, tier) = (record.id.clone(), record.tier);
            with_record.push(id.clone());
            if tier == SessionTier::Podman && matches!(podman, Podman::Broken) {
                continue;
            }
            match self.adopt(record).await {
                Ok(session) if session.record().state.is_end() => collected.records.push(id),
                Ok(_) => {}
                Err(error) => collected.damaged.push(Damaged { id, error }),
            }
        }
        with_record.extend(collected.damaged.iter().map(|damaged| damaged.id.clone()));
        let mut strays = self.inner.table.known()?;
        strays.extend(containers);
        strays.extend(self.pinned()?);
        strays.sort();
        strays.dedup();
        strays.retain(|id| !with_record.contains(id));
        collected.strays = strays;
        if !dry_run {
            for swept in [&mut collected.records, &mut collected.strays] {
                let ids = std::mem::take(swept);
                *swept = self.sweep_all(ids, &podman, &mut collected.failed).await;
            }
        } else if matches!(podman, Podman::Broken) {
            // What they lived in is not known, so they would stay.
            collected.strays.clear();
        }
        Ok(collected)
    }

    /// Podman, and our sessions that it has containers of.
    async fn podman(&self) -> Result<(Podman, Vec<SessionId>), SessionError> {
        if !self.inner.means.has_podman() {
            return Ok((Podman::Absent, Vec::new()));
        }
        let containers = self.inner.means.containers().await?;
        let sessions = containers.sessions().await?;
        Ok((Podman::Works(containers), sessions))
    }

    /// Sessions that hold an image's root file system.
    fn pinned(&self) -> Result<Vec<SessionId>, SessionError> {
        let pins = self.store()?.pins().map_err(|source| SessionError::Image {
            reference: "pinned".to_owned(),
            source: source.into(),
        })?;
        Ok(pins
            .iter()
            .filter_map(|pin| SessionId::parse(pin).ok())
            .collect())
    }

    /// Removes what is left of these, and says of which.
    async fn sweep_all(
        &self,
        all: Vec<SessionId>,
        podman: &Podman,
        failed: &mut Vec<(SessionId, SessionError)>,
    ) -> Vec<SessionId> {
        let mut removed = Vec::new();
        for id in all {
            match self.sweep(&id, podman).await {
                Ok(true) => removed.push(id),
                Ok(false) => {}
                Err(error) => failed.push((id, error)),
            }
        }
        removed
    }

    /// Whether it was nobody's and is removed.
    async fn sweep(&self, id: &SessionId, podman: &Podman) -> Result<bool, SessionError> {
        let _turn = {
            // While we have it, a new session is in the table as a whole or not at all.
            let _names = self.inner.table.lock_names()?;
            match self.inner.table.take_turn(id) {
                // Somebody makes it just now, or ends it.
                Ok(None) => return Ok(false),
                Ok(turn) => turn,
                // It has no directory: nobody is making it.
                Err(_) => None,
            }
        };
        // It may have been made since the table was looked at.
        let record = self.inner.table.load(id)?;
        if record.as_ref().is_some_and(|record| !record.state.is_end()) {
            return Ok(false);
        }
        // Of one without a record it is not known what it lived in.
        let tier = record.map(|record| record.tier);
        if tier != Some(SessionTier::Podman) {
            machine::remove(&self.inner.means, id).await?;
        }
        if tier != Some(SessionTier::MicroVm) {
            match podman {
                Podman::Absent => {}
                Podman::Works(containers) => containers.remove(id).await?,
                // A container may be left, which its root file system is still pinned for.
                Podman::Broken => return Ok(false),
            }
        }
        self.forget(id)?;
        Ok(true)
    }
}
