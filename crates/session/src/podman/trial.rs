//! One combination, tried: a container of ours that says what it was told, and one whose limits are
//! looked at.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::classify::classify;
use super::combination::Combination;
use super::command::{Output, Podman};
use super::effect::effect;
use super::error::PodmanError;
use super::findings::{Cause, Finding};
use super::host::Host;
use super::limits::Limits;
use super::root::{PREFIX, PROGRAM, ProbeRoot};

/// How long a container of one short program may take: 0.2 s here, half a minute where the processor is
/// emulated and podman runs for the first time.
const RUN_TIME: Duration = Duration::from_secs(120);
/// How long podman may take to say what it has.
pub(super) const ASK_TIME: Duration = Duration::from_secs(60);
/// How long podman may take to remove a container that it kills.
const REMOVE_TIME: Duration = Duration::from_secs(60);
/// Marks containers of probes. Its value is when the container was made, in seconds since 1970.
pub(super) const LABEL: &str = "io.axocoatl.probe";

/// Who says that limits are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The kernel: they were read from a container's cgroup and process.
    Kernel,
    /// Podman: the kernel is in its virtual machine and cannot be read from here.
    Podman,
}

/// A combination that is tried.
pub(super) struct Trial<'a> {
    podman: Podman,
    combination: &'a Combination,
    root: &'a ProbeRoot,
}

impl<'a> Trial<'a> {
    pub(super) fn new(podman: &Podman, combination: &'a Combination, root: &'a ProbeRoot) -> Self {
        Self {
            podman: podman.with(combination),
            combination,
            root,
        }
    }

    fn host(&self) -> &Host {
        self.podman.host()
    }

    /// Runs a container that says what only this call knows. The finding is why it does not.
    pub(super) async fn runs(&self, network: &str) -> Result<Result<(), Finding>, PodmanError> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let container = Container::named(&self.podman);
        let mut arguments = vec!["run".into(), "--rm".into()];
        arguments.extend(self.options(&container, network)?);
        arguments.extend([PROGRAM, "probe", nonce.as_str()].map(OsString::from));
        let output = match self.ran(arguments).await? {
            Ok(output) => output,
            Err(finding) => {
                container.remove().await;
                return Ok(Err(finding));
            }
        };
        // It removed itself.
        container.removed_itself();
        if String::from_utf8_lossy(&output.stdout).trim_end() == nonce {
            return Ok(Ok(()));
        }
        let evidence = "the container ended well, but did not say what it was told to say";
        Ok(Err(Finding::new(self.host(), Cause::Unknown, evidence)))
    }

    /// Makes a container and reads, before its program begins, what limits it. The finding is what does
    /// not.
    pub(super) async fn enforces(
        &self,
        limits: &Limits,
    ) -> Result<Result<Witness, Finding>, PodmanError> {
        let container = Container::named(&self.podman);
        let result = self.looked_at(&container, limits).await;
        container.remove().await;
        result
    }

    async fn looked_at(
        &self,
        container: &Container,
        limits: &Limits,
    ) -> Result<Result<Witness, Finding>, PodmanError> {
        let mut create = vec!["create".into()];
        create.extend(self.options(container, "none")?);
        create.extend([PROGRAM, "probe", "held"].map(OsString::from));
        // It has its process and its cgroup then, and waits for its start.
        let init = ["init", &container.name].map(OsString::from).to_vec();
        for arguments in [create, init] {
            if let Err(finding) = self.ran(arguments).await? {
                return Ok(Err(finding));
            }
        }
        let inspect = ["container", "inspect", &container.name].map(OsString::from);
        let inspected = match self.ran(inspect.to_vec()).await? {
            Ok(output) => output.json::<Vec<Inspected>>()?,
            Err(finding) => return Ok(Err(finding)),
        };
        let [inspected] = inspected.as_slice() else {
            let evidence = "podman does not show the container that it just made";
            return Ok(Err(Finding::new(self.host(), Cause::Unknown, evidence)));
        };
        let (witness, lacking) = match self.host().os().is_linux() {
            true => (
                Witness::Kernel,
                match effect(self.host(), inspected.state.pid) {
                    Ok(effect) => effect.lacks(limits),
                    Err(why) => vec![why],
                },
            ),
            false => (Witness::Podman, inspected.settings.lacks(limits)),
        };
        if lacking.is_empty() {
            return Ok(Ok(witness));
        }
        let evidence = format!("a container has {}", lacking.join(", "));
        let cause = self.cause_of_lack();
        Ok(Err(Finding::new(self.host(), cause, evidence)))
    }

    fn cause_of_lack(&self) -> Cause {
        let old = super::classify::is_cgroup_v1(self.host());
        match old && !self.host().is_root() {
            true => Cause::CgroupV1Rootless,
            false => Cause::LimitsNotEnforced,
        }
    }

    /// Every option that a session's container has, for the strictest profile.
    fn options(&self, container: &Container, network: &str) -> Result<Vec<OsString>, PodmanError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let made = now.map_or(0, |since| since.as_secs());
        let label = format!("{LABEL}={made}");
        let fixed = [
            "--name",
            &container.name,
            "--label",
            &label,
            "--network",
            network,
            "--read-only",
            // Only what is asked for below, and bounded.
            "--read-only-tmpfs=false",
            "--tmpfs",
            "/tmp:rw,nosuid,nodev,size=1m",
            "--shm-size",
            "1m",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "--log-driver",
            "none",
        ];
        let mut options: Vec<OsString> = fixed.map(OsString::from).to_vec();
        // Podman hands the host's proxies on, but where it is a remote one and lacks the option.
        if !self.host().os().needs_machine() {
            options.push("--http-proxy=false".into());
        }
        let hard = self.host().hard_limits();
        options.extend(self.combination.limit_options(&Limits::of_probe(), hard));
        options.extend(
            self.combination
                .root_options(&self.host().os().in_machine(self.root.path()))?,
        );
        Ok(options)
    }

    /// Runs podman. Not to succeed, or to take too long, is a finding.
    async fn ran(&self, arguments: Vec<OsString>) -> Result<Result<Output, Finding>, PodmanError> {
        match self.podman.run(arguments, RUN_TIME).await {
            Ok(output) if output.status.success() => Ok(Ok(output)),
            Ok(output) => Ok(Err(classify(self.host(), &output.stderr))),
            Err(error @ PodmanError::Late { .. }) => {
                let finding = Finding::new(self.host(), Cause::Late, error.to_string());
                Ok(Err(finding))
            }
            Err(error) => Err(error),
        }
    }
}

/// A container of a probe, which is removed even if the probe is dropped.
struct Container {
    name: String,
    podman: Option<Podman>,
}

impl Container {
    fn named(podman: &Podman) -> Self {
        Self {
            name: format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()),
            podman: Some(podman.clone()),
        }
    }

    fn removed_itself(mut self) {
        self.podman = None;
    }

    async fn remove(mut self) {
        if let Some(podman) = &self.podman {
            remove(podman, &self.name).await;
        }
        // Not before: given up in between, it is removed all the same.
        self.podman = None;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (Some(podman), Ok(runtime)) =
            (self.podman.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let name = std::mem::take(&mut self.name);
        // What cannot be removed now, because the process ends, the next probe removes by its label.
        runtime.spawn(async move { remove(&podman, &name).await });
    }
}

async fn remove(podman: &Podman, name: &str) {
    let arguments = ["rm", "--force", "--ignore", "--time", "0", name];
    let removed = podman.run(arguments, REMOVE_TIME).await;
    if let Err(error) = removed.and_then(Output::succeeded) {
        tracing::warn!(%error, name, "a probe's container remains; it is removed later");
    }
}

/// Removes the containers that probes of processes that were killed left: older than any probe lives.
pub(super) async fn reap(podman: &Podman, age: Duration) {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "Id")]
        id: String,
        #[serde(rename = "Labels", default)]
        labels: Option<std::collections::BTreeMap<String, String>>,
    }
    let filter = format!("label={LABEL}");
    let list = ["ps", "--all", "--filter", &filter, "--format", "json"];
    // What podman cannot list, it cannot run either, and the probe says why.
    let listed = podman.ask::<Option<Vec<Listed>>>(list, ASK_TIME).await;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for container in listed.ok().flatten().unwrap_or_default() {
        let labels = container.labels.unwrap_or_default();
        let made = labels.get(LABEL).and_then(|text| text.parse().ok());
        let old = made.is_some_and(|made| now > Duration::from_secs(made).saturating_add(age));
        if old {
            remove(podman, &container.id).await;
        }
    }
}

/// What `podman container inspect` says of a container.
#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "HostConfig", default)]
    settings: Settings,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Pid", default)]
    pid: u32,
}

/// Zero is without limit.
#[derive(Deserialize, Default)]
struct Settings {
    #[serde(rename = "Memory", default)]
    memory: i64,
    #[serde(rename = "MemorySwap", default)]
    memory_and_swap: i64,
    #[serde(rename = "PidsLimit", default)]
    pids: i64,
    #[serde(rename = "NanoCpus", default)]
    nano_cpus: i64,
}

impl Settings {
    fn lacks(&self, limits: &Limits) -> Vec<String> {
        let memory = limits.memory.bytes();
        let mut lacking = Vec::new();
        for (name, most, found) in [
            ("memory", memory, self.memory),
            ("memory and swap", memory, self.memory_and_swap),
            ("processes", limits.pids.into(), self.pids),
        ] {
            if !u64::try_from(found).is_ok_and(|found| found > 0 && found <= most) {
                lacking.push(format!("{name} {found} instead of {most}"));
            }
        }
        /// Podman counts processor time in billionths of a core.
        const BILLION: f64 = 1e9;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number of cores needs few digits"
        )]
        let cores = self.nano_cpus as f64 / BILLION;
        if cores <= 0.0 || cores > limits.cpu.cores() {
            lacking.push(format!(
                "processor {cores} instead of {}",
                limits.cpu.cores()
            ));
        }
        lacking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_podman_did_not_note_is_lacking() {
        let settings = |json: &str| serde_json::from_str::<Settings>(json).unwrap();
        let limits = Limits::of_probe();
        let all =
            r#"{"Memory":67108864,"MemorySwap":67108864,"PidsLimit":64,"NanoCpus":500000000}"#;
        assert_eq!(settings(all).lacks(&limits), Vec::<String>::new());
        assert_eq!(settings("{}").lacks(&limits).len(), 4);
        let unlimited =
            r#"{"Memory":67108864,"MemorySwap":-1,"PidsLimit":64,"NanoCpus":500000000}"#;
        assert_eq!(settings(unlimited).lacks(&limits).len(), 1);
    }
}
