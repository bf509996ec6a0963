//! The combination that a probe found, kept for the next process: `podman.json`.
//!
//! It holds as long as everything that it depends on is the same: podman, the runtimes, the user, the
//! boot, the kernel, and what this process may not raise. A file that cannot be read, or is of another
//! version of us, is as good as none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_core::{CpuShare, Size};
use serde::{Deserialize, Serialize};

use super::checks::RUNTIMES;
use super::combination::{CgroupManager, Combination, Root, Runtime, Ulimits};
use super::command::{Podman, ask_program};
use super::error::PodmanError;
use super::excerpt::excerpt;
use super::findings::{Cause, Finding};
use super::host::Host;
use super::limits::Limits;
use super::probe::{Bridge, Proof};
use super::trial::Witness;
use super::version::Version;

/// The file.
const FILE: &str = "podman.json";
/// Of what this file says, and of how a probe is made: another one's is not believed.
const GENERATION: u32 = 1;
/// Largest file that is read, in bytes: a dozen findings of 1 KiB each, and room.
const MAX_BYTES: u64 = 64 << 10;
/// How long a runtime may take to say its version.
const VERSION_TIME: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Record {
    holds_for: HoldsFor,
    proof: Kept,
}

/// What a record depends on.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct HoldsFor {
    generation: u32,
    podman: PathBuf,
    version: String,
    /// Path and what each says of itself.
    runtimes: Vec<(PathBuf, String)>,
    uid: u32,
    boot: String,
    kernel: String,
    files: Option<u64>,
    processes: Option<u64>,
}

/// A proof in the form of the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    runtime_option: Option<PathBuf>,
    fitted_ulimits: bool,
    cgroup_manager: Option<String>,
    overlay_root: bool,
    runtime: Option<PathBuf>,
    rootless: bool,
    cores: f64,
    memory_bytes: u64,
    pids: u32,
    files: u32,
    seen_in_kernel: bool,
    bridge: KeptBridge,
    overcome: Vec<KeptFinding>,
    shortcomings: Vec<KeptFinding>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptBridge {
    Works,
    Untried,
    Fails(KeptFinding),
}

/// Without its repair, which is made again for the host of then.
#[derive(Serialize, Deserialize)]
struct KeptFinding {
    cause: String,
    evidence: String,
}

/// Writes down what was found: beside the old file, then in its place, so that no reader ever sees half
/// of it.
pub(super) async fn keep(
    podman: &Podman,
    version: Version,
    directory: &Path,
    proof: &Proof,
) -> Result<(), PodmanError> {
    let record = Record {
        holds_for: holds_for(podman, version).await,
        proof: Kept::of(proof),
    };
    let path = directory.join(FILE);
    write(directory, &path, &record).map_err(|source| PodmanError::File {
        doing: "writing",
        path,
        source,
    })
}

/// What was found on a host that is still the same.
pub(super) async fn recall(podman: &Podman, version: Version, directory: &Path) -> Option<Proof> {
    let record: Record = read(&directory.join(FILE))?;
    let now = holds_for(podman, version).await;
    if record.holds_for != now {
        return None;
    }
    record.proof.into_proof(podman.host(), version)
}

async fn holds_for(podman: &Podman, version: Version) -> HoldsFor {
    let host = podman.host();
    let line = |path: &str| host.read(path).unwrap_or_default().trim().to_owned();
    let hard = host.hard_limits();
    HoldsFor {
        generation: GENERATION,
        podman: podman.program().to_owned(),
        version: version.to_string(),
        runtimes: runtimes(host).await,
        uid: host.uid(),
        boot: line("proc/sys/kernel/random/boot_id"),
        kernel: line("proc/sys/kernel/osrelease"),
        files: hard.files,
        processes: hard.processes,
    }
}

/// Every runtime here, and what it says of itself.
async fn runtimes(host: &Host) -> Vec<(PathBuf, String)> {
    let mut known = Vec::new();
    for path in RUNTIMES.iter().filter_map(|name| host.find_of_system(name)) {
        let said = match ask_program(host, &path, &["--version"], VERSION_TIME).await {
            Ok(output) => excerpt(&output.stdout),
            Err(error) => excerpt(error.to_string().as_bytes()),
        };
        known.push((path, said));
    }
    known
}

fn write(directory: &Path, path: &Path, record: &Record) -> std::io::Result<()> {
    let temporary = directory.join(format!("{FILE}.{}", uuid::Uuid::new_v4().simple()));
    let text = serde_json::to_vec_pretty(record)?;
    let written = (|| {
        let mut file = create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_directory(directory)
    })();
    if written.is_err() {
        // The first failure is the one that is told.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// A file that only this user reads.
fn create(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn read(path: &Path) -> Option<Record> {
    use std::io::Read as _;
    // Not a link, FIFO or device that somebody put there: the file is ours.
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&text).ok()
}

impl Kept {
    fn of(proof: &Proof) -> Self {
        let findings = |findings: &[Finding]| findings.iter().map(KeptFinding::of).collect();
        let combination = &proof.combination;
        Self {
            runtime_option: match &combination.runtime {
                Runtime::Podmans => None,
                Runtime::At(path) => Some(path.clone()),
            },
            fitted_ulimits: combination.ulimits == Ulimits::Fitted,
            cgroup_manager: match combination.cgroups {
                CgroupManager::Podmans => None,
                CgroupManager::Cgroupfs => Some("cgroupfs".to_owned()),
                CgroupManager::Systemd => Some("systemd".to_owned()),
            },
            overlay_root: combination.root == Root::Overlay,
            runtime: proof.runtime.clone(),
            rootless: proof.rootless,
            cores: proof.limits.cpu.cores(),
            memory_bytes: proof.limits.memory.bytes(),
            pids: proof.limits.pids,
            files: proof.limits.files,
            seen_in_kernel: proof.witness == Witness::Kernel,
            bridge: match &proof.bridge {
                Bridge::Works => KeptBridge::Works,
                Bridge::Untried => KeptBridge::Untried,
                Bridge::Fails(finding) => KeptBridge::Fails(KeptFinding::of(finding)),
            },
            overcome: findings(&proof.overcome),
            shortcomings: findings(&proof.shortcomings),
        }
    }

    fn into_proof(self, host: &Host, version: Version) -> Option<Proof> {
        let findings = |kept: Vec<KeptFinding>| -> Option<Vec<Finding>> {
            kept.into_iter()
                .map(|kept| kept.into_finding(host))
                .collect()
        };
        Some(Proof {
            combination: Combination {
                runtime: self.runtime_option.map_or(Runtime::Podmans, Runtime::At),
                ulimits: match self.fitted_ulimits {
                    true => Ulimits::Fitted,
                    false => Ulimits::Podmans,
                },
                cgroups: match self.cgroup_manager.as_deref() {
                    None => CgroupManager::Podmans,
                    Some("cgroupfs") => CgroupManager::Cgroupfs,
                    Some("systemd") => CgroupManager::Systemd,
                    Some(_) => return None,
                },
                root: match self.overlay_root {
                    true => Root::Overlay,
                    false => Root::Plain,
                },
            },
            version,
            runtime: self.runtime,
            rootless: self.rootless,
            limits: Limits {
                cpu: CpuShare::from_cores(self.cores).ok()?,
                memory: Size::from_bytes(self.memory_bytes),
                pids: self.pids,
                files: self.files,
            },
            witness: match self.seen_in_kernel {
                true => Witness::Kernel,
                false => Witness::Podman,
            },
            bridge: match self.bridge {
                KeptBridge::Works => Bridge::Works,
                KeptBridge::Untried => Bridge::Untried,
                KeptBridge::Fails(kept) => Bridge::Fails(Box::new(kept.into_finding(host)?)),
            },
            overcome: findings(self.overcome)?,
            shortcomings: findings(self.shortcomings)?,
            tried: 0,
        })
    }
}

impl KeptFinding {
    fn of(finding: &Finding) -> Self {
        Self {
            cause: finding.cause.as_str().to_owned(),
            evidence: finding.evidence.clone(),
        }
    }

    fn into_finding(self, host: &Host) -> Option<Finding> {
        // The file may have been changed; what is shown of it stays fit to be shown.
        let evidence = excerpt(self.evidence.as_bytes());
        Some(Finding::new(host, Cause::of_name(&self.cause)?, evidence))
    }
}
