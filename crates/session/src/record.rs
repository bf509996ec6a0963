//! What is remembered of a session, on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::spec::{Network, Profile, PublishedPort, SessionSpec, SessionTier};
use crate::{SessionId, SessionName, State, Transport};

/// The generation of records. A change that an older version cannot read raises it.
pub(crate) const GENERATION: u32 = 1;

/// What is remembered of a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub(crate) generation: u32,
    /// By which it is found.
    pub id: SessionId,
    /// What it is called, if anything.
    pub name: Option<SessionName>,
    /// Where it is in its life.
    pub state: State,
    /// Why it is there, for an end.
    pub why: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it came to its end.
    pub ended: Option<u64>,
    /// The image as it was asked for.
    pub image: String,
    /// What that was: the digest of its manifest.
    pub image_digest: String,
    /// What it lives in.
    #[serde(default)]
    pub tier: SessionTier,
    /// Mounted at its own path; in a machine, copied there.
    pub directory: Option<PathBuf>,
    /// How much its processes may do.
    pub profile: Profile,
    /// What they reach.
    pub network: Network,
    /// Published on this host's loopback address.
    pub ports: Vec<PublishedPort>,
    /// How its agent is reached.
    #[serde(default)]
    pub transport: Transport,
    /// Ceilings.
    pub limits: RecordedLimits,
    /// Variables of every process: the image's and the session's.
    pub environment: BTreeMap<String, String>,
    /// Where processes start.
    pub working_directory: String,
    /// The asker's own notes.
    pub labels: BTreeMap<String, String>,
}

/// A session's limits in plain numbers.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedLimits {
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Open descriptors of a process.
    pub files: u32,
    /// Bytes of each scratch file system.
    pub scratch: u64,
    /// Seconds without a client.
    pub idle: u64,
    /// Seconds of life.
    pub total: u64,
}

/// What the image says of its processes.
pub(crate) struct ImageFacts {
    pub(crate) digest: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_directory: Option<String>,
}

impl Record {
    pub(crate) fn new(
        id: SessionId,
        spec: &SessionSpec,
        image: ImageFacts,
        transport: Transport,
    ) -> Self {
        let mut environment = image.environment;
        environment.extend(spec.environment.clone());
        let directory = spec
            .directory
            .as_ref()
            .map(|path| path.display().to_string());
        Self {
            generation: GENERATION,
            id,
            name: spec.name.clone(),
            state: State::Starting,
            why: None,
            created: now(),
            ended: None,
            image: spec.image.clone(),
            image_digest: image.digest,
            working_directory: directory
                .or(image.working_directory)
                .unwrap_or_else(|| "/".to_owned()),
            tier: spec.tier,
            directory: spec.directory.clone(),
            profile: spec.profile,
            network: spec.network,
            ports: spec.ports.clone(),
            transport,
            limits: RecordedLimits {
                cpu: spec.limits.cpu.cores(),
                memory: spec.limits.memory.bytes(),
                pids: spec.limits.pids,
                files: spec.limits.files,
                scratch: spec.limits.scratch.bytes(),
                idle: whole_seconds(spec.limits.idle),
                total: whole_seconds(spec.limits.total),
            },
            environment,
            labels: spec.labels.clone(),
        }
    }

    /// What it is called: its name, or its id.
    #[must_use]
    pub fn called(&self) -> &str {
        self.name
            .as_ref()
            .map_or(self.id.as_str(), SessionName::as_str)
    }

    /// Goes on to `state`, if the diagram of [`State`] has that arrow.
    pub(crate) fn advance(&mut self, state: State, why: Option<String>) -> bool {
        if !self.state.may_become(state) {
            return false;
        }
        self.state = state;
        self.why = why.or_else(|| self.why.take());
        if state.is_end() {
            self.ended = Some(now());
        }
        true
    }
}

/// At least one: a limit of nothing would be none.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_before_there_were_machines_is_one_of_podman() {
        let mut spec = SessionSpec::new("image");
        spec.tier = SessionTier::MicroVm;
        let facts = ImageFacts {
            digest: "sha256:0".into(),
            environment: BTreeMap::new(),
            working_directory: None,
        };
        let record = Record::new(SessionId::random(), &spec, facts, Transport::Socket);
        let mut kept = serde_json::to_value(&record).unwrap();
        assert_eq!(kept["tier"], "microvm");
        kept.as_object_mut().unwrap().remove("tier");
        let read: Record = serde_json::from_value(kept).unwrap();
        assert_eq!(read.tier, SessionTier::Podman);
    }
}
