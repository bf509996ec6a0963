//! Whether a container of ours starts here, found out by starting one.
//!
//! ```text
//! look ──▶ info ──▶ candidates ──try──▶ runs? ──▶ limits in force? ──▶ Proof, kept in podman.json
//!   │                   ▲                │no            │no
//!   ▼                   └── leave out ◀──┴── Finding ◀──┘
//! Unready                what shares the cause          none left ──▶ Unready, with what files say
//! ```
//!
//! Candidates are tried in the fixed order of [`Combination`]. A failure whose cause is known leaves out
//! every candidate that shares it, so that on most hosts one to three containers are started. A limit
//! that is not in force is a failure like any other: a combination without it is never taken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::checks::{RUNTIMES, examine, shortcomings};
use super::classify::classify;
use super::combination::{Candidates, CgroupManager, Choices, Combination, Root, Runtime, Ulimits};
use super::command::Podman;
use super::error::PodmanError;
use super::findings::{Cause, Finding, Means, without_repetition};
use super::host::Host;
use super::limits::Limits;
use super::readiness::{Look, PodmanReadiness, look};
use super::repair::runs_systemd;
use super::root::{self, PREFIX, ProbeRoot};
use super::store;
use super::trial::{self, ASK_TIME, Trial, Witness};
use super::version::Version;
use crate::seccomp::PROFILES;

/// How long all tries may take. What is left then is not tried.
const TOTAL_TIME: Duration = Duration::from_secs(300);
/// Age at which what a probe left is nobody's: it ends by [`TOTAL_TIME`] and the last of its tries,
/// whose few commands have minutes each.
const DEAD_AFTER: Duration = Duration::from_secs(3600);

/// What a probe is made with.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// A static program for the kernel that runs containers. Called as `probe NONCE`, it writes NONCE to
    /// its standard output and ends with status 0.
    pub program: PathBuf,
    /// Where the container's root is made, and `podman.json` kept. A directory of this user's, made if
    /// it is missing.
    pub directory: PathBuf,
    /// Whether a container is connected to a bridge as well. Podman makes the bridge for it and may leave
    /// it on the host.
    pub bridge: bool,
}

/// What a probe came to.
#[derive(Clone, Debug)]
pub enum Probed {
    /// Containers start, with every limit in force.
    Ready(Box<Proof>),
    /// They do not.
    Unready(Unready),
}

/// That containers start, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// What podman is to be asked with.
    pub combination: Combination,
    /// The version of podman.
    pub version: Version,
    /// The program that makes containers, if podman or the search says which.
    pub runtime: Option<PathBuf>,
    /// Whether podman is an ordinary user's.
    pub rootless: bool,
    /// The limits that were in force.
    pub limits: Limits,
    /// Who says so.
    pub witness: Witness,
    /// Whether containers can be connected to the network.
    pub bridge: Bridge,
    /// What stood in the way of other combinations.
    pub overcome: Vec<Finding>,
    /// What containers lack here that sessions may ask for.
    pub shortcomings: Vec<Finding>,
    /// How many containers were tried; none if this is what an earlier probe found.
    pub tried: usize,
}

/// Whether containers can be connected to a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bridge {
    /// One was.
    Works,
    /// None was tried, and nothing is known to be missing.
    Untried,
    /// They cannot be.
    Fails(Box<Finding>),
}

/// That containers do not start, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// What stops them, as it was seen when they were tried.
    pub findings: Vec<Finding>,
    /// What else looks bad, by files of the host. It need not be what stops them.
    pub suspicions: Vec<Finding>,
    /// The version of podman, if it said one.
    pub version: Option<Version>,
    /// How many combinations were tried.
    pub tried: usize,
}

/// What podman would do by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Defaults {
    runtime: Option<PathBuf>,
    cgroups: Option<String>,
    rootless: Option<bool>,
}

/// Finds a combination that works and keeps it. Changes nothing else that lasts.
///
/// # Errors
/// If podman cannot be run at all though it is there, or the directory cannot be used. A host that is not
/// ready is no error.
pub async fn probe(host: &Host, request: &ProbeRequest) -> Result<Probed, PodmanError> {
    let (podman, version) = match usable(host, look(host).await) {
        Ok(usable) => usable,
        Err(unready) => return Ok(Probed::Unready(unready)),
    };
    // Before anything of ours is made, what dead probes left goes.
    trial::reap(&podman, DEAD_AFTER).await;
    root::reap(&request.directory, DEAD_AFTER);
    let (defaults, complaint) = defaults(&podman).await;
    let name = format!("{PREFIX}{}", uuid::Uuid::new_v4().simple());
    let root = ProbeRoot::make(&request.directory, &name, &request.program)?;

    let mut candidates = Candidates::of(&choices(host, &defaults));
    let mut search = Search {
        podman: &podman,
        root: &root,
        seen: complaint.into_iter().collect(),
        tried: 0,
    };
    let Some((combination, witness)) = search.first_that_works(&mut candidates).await? else {
        let findings = without_repetition(search.seen);
        let mut suspicions = examine(host, &request.directory);
        suspicions.retain(|one| findings.iter().all(|seen| seen.cause != one.cause));
        return Ok(Probed::Unready(Unready {
            findings,
            suspicions,
            version: Some(version),
            tried: search.tried,
        }));
    };

    let rootless = defaults.rootless.unwrap_or(!host.is_root());
    let mut shortcomings = shortcomings(host, rootless);
    let bridge = match request.bridge {
        true => bridge(&Trial::new(&podman, &combination, &root)).await?,
        false => missing_bridge(&shortcomings),
    };
    if let Bridge::Fails(finding) = &bridge {
        shortcomings.push((**finding).clone());
    }
    let proof = Proof {
        runtime: match &combination.runtime {
            Runtime::Podmans => defaults.runtime,
            Runtime::At(path) => Some(path.clone()),
        },
        combination,
        version,
        rootless,
        limits: Limits::of_probe(),
        witness,
        bridge,
        overcome: without_repetition(search.seen),
        shortcomings: without_repetition(shortcomings),
        tried: search.tried,
    };
    drop(root);
    store::keep(&podman, version, &request.directory, &proof).await?;
    Ok(Probed::Ready(Box::new(proof)))
}

/// What an earlier probe found, if nothing has changed since that it depends on; else a new probe.
///
/// # Errors
/// As [`probe`].
pub async fn working(host: &Host, request: &ProbeRequest) -> Result<Probed, PodmanError> {
    let (podman, version) = match usable(host, look(host).await) {
        Ok(usable) => usable,
        Err(unready) => return Ok(Probed::Unready(unready)),
    };
    match store::recall(&podman, version, &request.directory).await {
        // A bridge that was never tried does not answer whether there is one.
        Some(proof) if !request.bridge || proof.bridge != Bridge::Untried => {
            Ok(Probed::Ready(Box::new(proof)))
        }
        _ => probe(host, request).await,
    }
}

/// Podman and its version, if it can be asked for containers.
fn usable(host: &Host, look: Look) -> Result<(Podman, Version), Unready> {
    let unready = |cause, evidence: String| Unready {
        findings: vec![Finding::new(host, cause, evidence)],
        suspicions: Vec::new(),
        version: look.version,
        tried: 0,
    };
    let Some(podman) = look.podman else {
        return Err(unready(Cause::PodmanMissing, look.silence));
    };
    match look.readiness {
        PodmanReadiness::Ready => {}
        PodmanReadiness::NotInstalled => return Err(unready(Cause::PodmanBroken, look.silence)),
        PodmanReadiness::MachineMissing => {
            let evidence = "podman machine list names none".to_owned();
            return Err(unready(Cause::MachineMissing, evidence));
        }
        PodmanReadiness::MachineStopped => {
            let evidence = "podman machine list names none that runs".to_owned();
            return Err(unready(Cause::MachineStopped, evidence));
        }
    }
    // A virtual machine's is its own, and podman finds it there by itself.
    if !host.os().needs_machine()
        && !PROFILES
            .iter()
            .any(|path| host.path(path.as_ref()).is_file())
    {
        let evidence = format!("there is no {}", PROFILES.join(" and no "));
        return Err(unready(Cause::SeccompProfileMissing, evidence));
    }
    match look.version {
        Some(version) if version >= Version::OLDEST => Ok((podman, version)),
        Some(version) => Err(unready(
            Cause::PodmanTooOld,
            format!("podman --version says {version}"),
        )),
        None => {
            let evidence = "podman --version names no version".to_owned();
            Err(unready(Cause::PodmanBroken, evidence))
        }
    }
}

/// What podman would use by itself; and, if it cannot even say that, what it complains of.
async fn defaults(podman: &Podman) -> (Defaults, Option<Finding>) {
    #[derive(Deserialize)]
    struct Info {
        host: OfHost,
    }
    #[derive(Deserialize)]
    struct OfHost {
        #[serde(rename = "cgroupManager")]
        cgroups: Option<String>,
        #[serde(rename = "ociRuntime")]
        runtime: Option<OciRuntime>,
        security: Option<Security>,
    }
    #[derive(Deserialize)]
    struct OciRuntime {
        path: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Security {
        rootless: Option<bool>,
    }
    let arguments = ["info", "--format", "json"];
    let output = match podman.run(arguments, ASK_TIME).await {
        Ok(output) => output,
        Err(error) => {
            let finding = Finding::new(podman.host(), Cause::Late, error.to_string());
            return (Defaults::default(), Some(finding));
        }
    };
    if !output.status.success() {
        let finding = classify(podman.host(), &output.stderr);
        return (Defaults::default(), Some(finding));
    }
    let info: Option<Info> = output.json().ok();
    let known = info.map(|info| Defaults {
        runtime: info.host.runtime.and_then(|runtime| runtime.path),
        cgroups: info.host.cgroups,
        rootless: info.host.security.and_then(|security| security.rootless),
    });
    (known.unwrap_or_default(), None)
}

/// What there is to choose from on this host.
fn choices(host: &Host, defaults: &Defaults) -> Choices {
    let mut choices = Choices {
        runtimes: vec![Runtime::Podmans],
        ulimits: vec![Ulimits::Podmans],
        cgroups: vec![CgroupManager::Podmans],
        roots: vec![Root::Overlay, Root::Plain],
    };
    // A remote podman has none of these options: its machine is the same everywhere.
    if host.os().needs_machine() {
        return choices;
    }
    let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    };
    let others = RUNTIMES
        .iter()
        .filter_map(|name| host.find_of_system(name))
        .filter(|path| {
            !defaults
                .runtime
                .as_deref()
                .is_some_and(|own| same(own, path))
        });
    choices.runtimes.extend(others.map(Runtime::At));
    if host.hard_limits().processes.is_some() {
        choices.ulimits.push(Ulimits::Fitted);
    }
    match defaults.cgroups.as_deref() {
        Some("cgroupfs") if runs_systemd(host) => choices.cgroups.push(CgroupManager::Systemd),
        Some("cgroupfs") => {}
        _ => choices.cgroups.push(CgroupManager::Cgroupfs),
    }
    choices
}

/// The tries of one probe.
struct Search<'a> {
    podman: &'a Podman,
    root: &'a ProbeRoot,
    seen: Vec<Finding>,
    tried: usize,
}

impl Search<'_> {
    async fn first_that_works(
        &mut self,
        candidates: &mut Candidates,
    ) -> Result<Option<(Combination, Witness)>, PodmanError> {
        let began = Instant::now();
        while let Some(combination) = candidates.next() {
            if began.elapsed() > TOTAL_TIME {
                break;
            }
            self.tried += 1;
            let trial = Trial::new(self.podman, &combination, self.root);
            let finding = match works(&trial).await? {
                Ok(witness) => return Ok(Some((combination, witness))),
                Err(finding) => finding,
            };
            tracing::debug!(
                ?combination,
                cause = finding.cause.as_str(),
                "does not work"
            );
            let means = finding.cause.means();
            self.seen.push(finding);
            match means {
                Means::Not(part) => candidates.exclude(part, &combination),
                Means::TryOthers => {}
                Means::Stop => break,
            }
        }
        Ok(None)
    }
}

/// Whether a container starts, and has its limits.
async fn works(trial: &Trial<'_>) -> Result<Result<Witness, Finding>, PodmanError> {
    match trial.runs("none").await? {
        Ok(()) => trial.enforces(&Limits::of_probe()).await,
        Err(finding) => Ok(Err(finding)),
    }
}

async fn bridge(trial: &Trial<'_>) -> Result<Bridge, PodmanError> {
    Ok(match trial.runs("bridge").await? {
        Ok(()) => Bridge::Works,
        Err(finding) => Bridge::Fails(Box::new(finding)),
    })
}

/// What is known of a bridge without making one.
fn missing_bridge(shortcomings: &[Finding]) -> Bridge {
    let network = [Cause::NetworkHelperMissing, Cause::NetworkDevice];
    let missing = shortcomings
        .iter()
        .find(|finding| network.contains(&finding.cause));
    missing.map_or(Bridge::Untried, |finding| {
        Bridge::Fails(Box::new(finding.clone()))
    })
}
