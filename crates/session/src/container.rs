//! The container of a session: how podman is asked for it, and what has become of it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axo_core::{CpuShare, Size};
use serde::Deserialize;

use crate::in_flight::is_being_made;
use crate::podman::{self, Attached, Combination, Limits, Podman, PodmanError, Root};
use crate::record::Record;
use crate::spec::{Network, Profile};
use crate::{SessionError, SessionId, Transport};

/// Who made a container, in its labels.
const OWNER_LABEL: &str = "axocoatl.owner";
/// Which session it is, in its labels.
const SESSION_LABEL: &str = "axocoatl.session";
/// Where the agent is in a session, read-only.
const AGENT: &str = "/axocoatl/agent";
/// The descriptor at which the agent finds its listening socket: the first after the streams.
const SOCKET: &str = "3";
/// Where it makes its socket itself, if none is handed to it: a file system of its own, which nobody
/// who removes what is temporary comes by.
const SOCKET_DIRECTORY: &str = "/axocoatl/run";
/// The socket there.
const NAMED_SOCKET: &str = "/axocoatl/run/agent.sock";
/// What package managers need: to own files, and to become the users their parts run as.
pub(crate) const DEV_CAPABILITIES: [&str; 8] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// How long after the total time an agent may still be ending what runs: its own grace, and more.
pub(crate) const AGENTS_END: u64 = 10;

/// How long podman may take to make or remove a container. It waits for its storage's lock.
const MAKE: Duration = Duration::from_secs(120);
/// How often it is looked whether podman is done.
const GLANCE: Duration = Duration::from_millis(50);
/// How long podman may take to tell something.
const TELL: Duration = Duration::from_secs(30);

/// Podman as it works here, and what every session's container gets.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    pub(crate) podman: Podman,
    /// What of podman works here.
    pub(crate) combination: Combination,
    /// For [`OWNER_LABEL`].
    pub(crate) owner: String,
    /// The agent's program.
    pub(crate) agent: PathBuf,
    /// The seccomp profile.
    pub(crate) seccomp: PathBuf,
}

/// What has become of a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It runs.
    Running,
    /// It was made, and runs no more.
    Exited { code: i32 },
    /// There is none of that name.
    Absent,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: InspectedState,
}

#[derive(Deserialize)]
struct InspectedState {
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "Pid")]
    pid: u32,
    #[serde(rename = "ExitCode")]
    exit_code: i32,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Labels")]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

impl Containers {
    /// Makes and starts the container of `record`, whose agent listens on `socket`, or on one that it
    /// makes itself.
    pub(crate) async fn start(
        &self,
        record: &Record,
        rootfs: &Path,
        socket: Option<OwnedFd>,
    ) -> Result<(), SessionError> {
        let arguments = self.arguments(record, rootfs)?;
        let output = self.podman.run_passing(arguments, MAKE, socket).await?;
        match output.succeeded() {
            Ok(_) => Ok(()),
            Err(source) => Err(match self.lacks(record) {
                Some(lacks) => SessionError::NotConnected { lacks, source },
                None => source.into(),
            }),
        }
    }

    /// What this host seems to lack of a network, for a session that was to have one and failed: podman
    /// was proved without.
    fn lacks(&self, record: &Record) -> Option<String> {
        match record.network {
            Network::None => None,
            Network::Bridge => {
                podman::unconnected(self.podman.host()).map(|finding| finding.to_string())
            }
        }
    }

    fn arguments(&self, record: &Record, rootfs: &Path) -> Result<Vec<OsString>, SessionError> {
        // The image's root itself would be writable, for every session of it to come.
        if record.profile == Profile::Dev && self.combination.root == Root::Plain {
            return Err(SessionError::Unready(
                "podman mounts no overlay here, which the profile dev writes to; use locked"
                    .to_owned(),
            ));
        }
        let limits = &record.limits;
        let mut list = Arguments::default();
        list.all(["run", "--detach", "--pull", "never"]);
        match record.transport {
            Transport::Socket => list.option("--preserve-fds", "1"),
            Transport::Bridge => list.option(
                "--tmpfs",
                &format!("{SOCKET_DIRECTORY}:rw,nosuid,nodev,noexec,mode=0700,size=64k"),
            ),
        }
        list.option("--name", &record.id.container());
        list.option("--hostname", &record.id.container());
        list.option("--label", &format!("{OWNER_LABEL}={}", self.owner));
        list.option("--label", &format!("{SESSION_LABEL}={}", record.id));

        // Nothing of the host's, and nothing that podman would start by itself.
        list.all([
            "--env-host=false",
            "--http-proxy=false",
            "--systemd=false",
            "--no-healthcheck",
        ]);
        list.all([
            "--restart",
            "no",
            "--image-volume",
            "ignore",
            "--sdnotify",
            "ignore",
        ]);
        list.all(["--log-driver", "k8s-file", "--log-opt", "max-size=64kb"]);

        list.all(["--cap-drop", "all"]);
        list.all(["--security-opt", "no-new-privileges"]);
        list.option(
            "--security-opt",
            &format!("seccomp={}", self.seccomp.display()),
        );
        match record.profile {
            Profile::Locked => list.all(["--read-only", "--read-only-tmpfs=false"]),
            Profile::Dev => DEV_CAPABILITIES
                .iter()
                .for_each(|capability| list.option("--cap-add", capability)),
        }

        let ceilings = Limits {
            cpu: CpuShare::from_cores(limits.cpu).unwrap_or(CpuShare::ONE),
            memory: Size::from_bytes(limits.memory),
            pids: limits.pids,
            files: limits.files,
        };
        let hard = self.podman.host().hard_limits();
        list.0
            .extend(self.combination.limit_options(&ceilings, hard));
        list.option("--ulimit", "core=0:0");
        list.option("--shm-size", &limits.scratch.to_string());
        for directory in ["/tmp", "/run", "/var/tmp"] {
            let size = limits.scratch;
            list.option(
                "--tmpfs",
                &format!("{directory}:rw,nosuid,nodev,mode=1777,size={size}"),
            );
        }
        // Enforced by podman's monitor, whatever becomes of us and of the agent, which does it first
        // and says so.
        let timeout = limits.total.saturating_add(AGENTS_END);
        list.option("--timeout", &timeout.to_string());

        match record.network {
            Network::None => list.option("--network", "none"),
            Network::Bridge => list.option("--network", "bridge"),
        }
        for port in &record.ports {
            list.option("--publish", &format!("{port}/tcp"));
        }

        list.option(
            "--volume",
            &format!("{}:{AGENT}:ro,nosuid,nodev", self.agent.display()),
        );
        if let Some(directory) = &record.directory {
            let directory = directory.display();
            list.option(
                "--volume",
                &format!("{directory}:{directory}:rw,nosuid,nodev"),
            );
        }

        list.all(["--user", "0:0", "--workdir", "/"]);
        list.0.extend(self.combination.root_options(rootfs)?);
        list.all([AGENT, "serve"]);
        match record.transport {
            Transport::Socket => list.option("--fd", SOCKET),
            Transport::Bridge => list.option("--socket", NAMED_SOCKET),
        }
        list.option("--idle", &limits.idle.to_string());
        list.option("--total", &limits.total.to_string());
        Ok(list.0)
    }

    /// A bridge to the agent of a session, for one connection. It is a process of the session, held to
    /// all that the session is held to.
    pub(crate) fn bridge(&self, id: &SessionId) -> Result<Attached, PodmanError> {
        let container = id.container();
        self.podman.attach([
            "exec",
            "--interactive",
            // No bytes that are carried have a meaning for podman.
            "--detach-keys",
            "",
            &container,
            AGENT,
            "bridge",
            "--socket",
            NAMED_SOCKET,
        ])
    }

    /// What has become of a session's container.
    pub(crate) async fn look(&self, id: &SessionId) -> Result<Fate, SessionError> {
        let name = id.container();
        let exists = self
            .podman
            .run(["container", "exists", &name], TELL)
            .await?;
        match exists.status.code() {
            Some(0) => {}
            Some(1) => return Ok(Fate::Absent),
            _ => {
                exists.succeeded()?;
            }
        }
        let output = self
            .podman
            .run(["container", "inspect", &name], TELL)
            .await?;
        if !output.status.success() {
            // Removed in between, or not.
            let exists = self
                .podman
                .run(["container", "exists", &name], TELL)
                .await?;
            if exists.status.code() == Some(1) {
                return Ok(Fate::Absent);
            }
        }
        let inspected: Vec<Inspected> = output.succeeded()?.json()?;
        Ok(match inspected.first() {
            None => Fate::Absent,
            Some(found) if found.state.running => Fate::Running,
            Some(found) => Fate::Exited {
                code: found.state.exit_code,
            },
        })
    }

    /// The number of the first process of a container that runs, as this host has it.
    pub(crate) async fn first_process(&self, id: &SessionId) -> Result<u32, SessionError> {
        let name = id.container();
        let asked = ["container", "inspect", &name];
        let inspected: Vec<Inspected> = self.podman.ask(asked, TELL).await?;
        match inspected.first() {
            Some(Inspected { state }) if state.running && state.pid > 0 => Ok(state.pid),
            _ => Err(SessionError::NotStarted {
                id: id.clone(),
                said: self.said(id).await,
            }),
        }
    }

    /// The end of what the container wrote, fit to be shown.
    pub(crate) async fn said(&self, id: &SessionId) -> String {
        let arguments = ["logs", "--tail", "20", &id.container()];
        match self.podman.run(arguments, TELL).await {
            Ok(output) => output.said(),
            Err(error) => error.to_string(),
        }
    }

    /// Kills and removes a session's container, if there is one.
    pub(crate) async fn remove(&self, id: &SessionId) -> Result<(), SessionError> {
        // One whose caller was killed goes on, and would be done with it just after we look.
        let started = Instant::now();
        while is_being_made(&id.container()) && started.elapsed() < MAKE {
            tokio::time::sleep(GLANCE).await;
        }
        let arguments = ["rm", "--force", "--ignore", "--time", "0", &id.container()];
        self.podman.run(arguments, MAKE).await?.succeeded()?;
        Ok(())
    }

    /// Sessions of ours with a container, whether there is a record of them or not.
    pub(crate) async fn sessions(&self) -> Result<Vec<SessionId>, SessionError> {
        let filter = format!("label={OWNER_LABEL}={}", self.owner);
        let arguments = ["ps", "--all", "--filter", &filter, "--format", "json"];
        let listed: Option<Vec<Listed>> = self.podman.ask(arguments, TELL).await?;
        let label = |listed: Listed| SessionId::parse(listed.labels?.get(SESSION_LABEL)?).ok();
        Ok(listed
            .unwrap_or_default()
            .into_iter()
            .filter_map(label)
            .collect())
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn all<const N: usize>(&mut self, arguments: [&str; N]) {
        self.0.extend(arguments.map(OsString::from));
    }

    fn option(&mut self, name: &str, value: &str) {
        self.all([name, value]);
    }
}
