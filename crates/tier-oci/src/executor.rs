//! The tier as the engine sees it.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use axo_core::{
    BoxFuture, Capabilities, Executor, Finished, Form, GrantKind, LimitKind, MAX_INPUT_BYTES,
    Outcome, PlacedCall, Readiness, RunError, Tier, ToolSpec,
};
use axo_runner::{Bind, Prepare, RootAccess, Scratch, Stage};
use tokio::sync::{Mutex as AsyncMutex, RwLock, Semaphore};

use crate::call::{self, SCRATCH_INODES};
use crate::container_spec::ContainerSpec;
use crate::failed::{Failed, failed};
use crate::filling::Fillings;
use crate::host::{self, CgroupDriver, Host, PREFIX, Unavailable};
use crate::pool::Pool;
use crate::runner::{LeftBehind, RunnerError};
use crate::sandbox::{Ended, Waiting};
use crate::seccomp;
use crate::spec;
use crate::tool::{self, ImageSource, OpenTools, Tool};

/// What the tier runs, enforces and grants.
const CAPABILITIES: Capabilities = Capabilities {
    forms: &[Form::Bundle, Form::Image],
    limits: &[
        LimitKind::Wall,
        LimitKind::Cpu,
        LimitKind::Memory,
        LimitKind::Pids,
        LimitKind::Files,
        LimitKind::Disk,
        LimitKind::Output,
    ],
    grants: &[GrantKind::Env, GrantKind::Mounts],
};
/// Most containers that wait, of all tools together: each costs a runner and a process.
const MAX_WAITING: usize = 64;
/// How long a call whose runner was killed waits for that.
const REAP_TIME: Duration = Duration::from_secs(3);

/// How the tier works on this host.
#[derive(Clone, Debug)]
pub struct OciConfig {
    /// The image store; without one, images do not run.
    pub images: Option<PathBuf>,
    /// Patterns of image references that a call may pull.
    pub trusted_images: Vec<String>,
    /// Most calls at once; further ones wait.
    pub concurrency: u32,
    /// Containers that are kept ready, a tool.
    pub warm: usize,
    /// Who makes cgroups.
    pub cgroups: CgroupDriver,
    /// Whether the first container removes what dead engines left. Not for one who only looks.
    pub reap: bool,
}

/// Tier 2.
pub struct OciExecutor {
    inner: Arc<Inner>,
}

struct Inner {
    host: Result<Host, Unavailable>,
    images: ImageSource,
    permits: Semaphore,
    pool: Pool<Waiting>,
    opened: OpenTools,
    /// Containers that are made for later calls.
    fillings: Fillings<(Arc<Tool>, ContainerSpec)>,
    /// One such container at a time: it is for idle moments.
    making: AsyncMutex<()>,
    /// What dead processes left is removed once, by the first container.
    reaped: Once,
    reap: bool,
    /// The first container that can be made has enabled controllers.
    enabled: OnceLock<()>,
    /// Read by whoever looks after a runner that is ending.
    endings: Arc<RwLock<()>>,
}

impl OciExecutor {
    /// A tier that works as `config` says. Looks at the host, and starts nothing.
    #[must_use]
    pub fn new(config: OciConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                host: Host::examine(config.cgroups),
                images: ImageSource {
                    store: config.images,
                    trusted: config.trusted_images,
                },
                permits: Semaphore::new(config.concurrency.max(1) as usize),
                pool: Pool::new(config.warm, MAX_WAITING, Waiting::lives),
                opened: OpenTools::default(),
                fillings: Fillings::default(),
                making: AsyncMutex::default(),
                reaped: Once::new(),
                reap: config.reap,
                enabled: OnceLock::new(),
                endings: Arc::default(),
            }),
        }
    }
}

impl Drop for OciExecutor {
    fn drop(&mut self) {
        // A filling that is under way keeps the pool for a moment, but puts nothing there any more.
        self.inner.permits.close();
        self.inner.pool.drain();
    }
}

impl Inner {
    /// Reads as the way of a call on this tier.
    async fn run(self: &Arc<Self>, call: PlacedCall) -> Result<Outcome, Failed> {
        let host = self.host.as_ref().map_err(Failed::from)?;
        let tool = self.tool(call.spec(), host).await?;
        let launch = call::launch(&tool, &call)?;
        let wanted = ContainerSpec::new(&call, &tool).await?;
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Closed)?;
        let waiting = match self.pool.take(&wanted.key) {
            Some(waiting) => waiting,
            None => self.make(host, &tool, &wanted).await?,
        };
        let (finished, ended): (Finished, Ended) = call::run(waiting, launch, &tool, &call).await?;
        // The outcome is told when nothing of the sandbox is left.
        ended.gone().await?;
        self.fill(tool, wanted);
        Ok(call.conclude(finished))
    }

    async fn prepare(self: &Arc<Self>, call: &PlacedCall) -> Result<(), Failed> {
        let host = self.host.as_ref().map_err(Failed::from)?;
        let tool = self.tool(call.spec(), host).await?;
        call::launch(&tool, call)?;
        let wanted = ContainerSpec::new(call, &tool).await?;
        let waiting = self.make(host, &tool, &wanted).await?;
        self.pool.put(wanted.key, waiting);
        Ok(())
    }

    async fn tool(&self, spec: &ToolSpec, host: &Host) -> Result<Arc<Tool>, Failed> {
        let opened = self.opened.open(spec, &host.users, &self.images);
        Ok(opened.await?)
    }

    /// Makes the host ready for a first container. Examining it has changed nothing.
    fn begin(&self, host: &Host) -> Result<(), Failed> {
        if self.enabled.get().is_none() {
            host.cgroups
                .enable()
                .map_err(|unavailable| Failed::from(&unavailable))?;
            let _ = self.enabled.set(());
        }
        if self.reap {
            self.reaped.call_once(|| {
                let cgroups = host.cgroups.clone();
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = host::reap_of(&cgroups) {
                        tracing::warn!(%error, "what dead runners left was not removed");
                    }
                });
            });
        }
        Ok(())
    }

    /// A new container.
    async fn make(
        &self,
        host: &Host,
        tool: &Tool,
        wanted: &ContainerSpec,
    ) -> Result<Waiting, Failed> {
        self.begin(host)?;
        let stage = Stage::default();
        let id = format!("{PREFIX}{}-{}", wanted.name, uuid::Uuid::new_v4());
        let cgroup = host.cgroups.of_sandbox(&id, &wanted.limits);
        let of_config = host.cgroups.of_config(&id, &wanted.limits);
        let targets = spec::bind_targets(tool, &wanted.mounts);
        let prepare = Prepare {
            id: id.clone(),
            config: spec::config(tool, &wanted.mounts, &stage, of_config).to_string(),
            seccomp: seccomp::filters()?.to_vec(),
            users: host.users.users(tool.user, !wanted.mounts.is_empty()),
            cgroup,
            scratch: Scratch {
                bytes: wanted.limits.disk.bytes(),
                inodes: SCRATCH_INODES,
            },
            root: RootAccess::ReadOnly,
            listener: false,
            loopback: false,
            input_bytes: MAX_INPUT_BYTES as u64,
            files: wanted.limits.files,
            mount_points: tool::mount_points(targets.iter().map(|(target, _)| *target)),
            binds: targets
                .iter()
                .map(|(_, read_only)| Bind {
                    read_only: *read_only,
                })
                .collect(),
        };
        let sources: Vec<_> = tool
            .files
            .iter()
            .chain(&wanted.sources)
            .map(|source| source.as_fd())
            .collect();
        let endings = Arc::clone(&self.endings);
        let left_behind = LeftBehind::cgroup(host.cgroups.clone(), id, endings);
        Ok(Waiting::make(prepare, &tool.root, &sources, left_behind).await?)
    }

    /// Makes containers for later calls, in the background.
    fn fill(self: &Arc<Self>, tool: Arc<Tool>, wanted: ContainerSpec) {
        if self.pool.wants(&wanted.key) == 0 {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let begun = inner.fillings.begin(wanted.key.tool, (tool, wanted));
            let Some((mut filling, first)) = begun else {
                return;
            };
            let mut next = Some(first);
            while let Some((tool, wanted)) = next {
                inner.fill_up(&tool, &wanted).await;
                next = filling.newest();
            }
        });
    }

    /// Makes as many containers as are wanted now.
    async fn fill_up(&self, tool: &Tool, wanted: &ContainerSpec) {
        let Ok(host) = &self.host else { return };
        for _ in 0..self.pool.wants(&wanted.key) {
            let _one_at_a_time = self.making.lock().await;
            if self.permits.is_closed() || self.pool.wants(&wanted.key) == 0 {
                return;
            }
            match self.make(host, tool, wanted).await {
                Ok(waiting) if !self.permits.is_closed() => {
                    self.pool.put(wanted.key.clone(), waiting);
                }
                Ok(_) => return,
                Err(error) => {
                    // The next call makes its own, and is told.
                    tracing::warn!(%error, "a warm container was not made");
                    return;
                }
            }
        }
    }
}

impl Executor for OciExecutor {
    fn tier(&self) -> Tier {
        Tier::Oci
    }

    fn readiness(&self) -> Readiness {
        match &self.inner.host {
            Ok(_) => Readiness::Ready(CAPABILITIES),
            Err(unavailable) => unavailable.into(),
        }
    }

    fn run(&self, call: PlacedCall) -> BoxFuture<'_, Result<Outcome, RunError>> {
        let spec = Arc::clone(call.spec());
        Box::pin(async move {
            let result = self.inner.run(call).await;
            if let Err(Failed::Runner(RunnerError::Gone | RunnerError::Silent(_))) = &result {
                // The kernel ends the sandbox; what is left is removed before this process may end.
                let _ = tokio::time::timeout(REAP_TIME, self.inner.endings.write()).await;
            }
            result.map_err(|e| failed(&spec, e))
        })
    }

    fn prepare<'a>(&'a self, call: &'a PlacedCall) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            self.inner
                .prepare(call)
                .await
                .map_err(|e| failed(call.spec(), e))
        })
    }
}

/// Removes the cgroups whose runner is gone, and kills what is in them; with `dry_run`, only finds
/// them. Answers their paths. Everything else of a sandbox goes with its runner. It does not matter
/// who made them, systemd apart, nor whether this host can run containers now.
///
/// # Errors
/// If the host's cgroups cannot be listed.
pub fn reap(dry_run: bool) -> io::Result<Vec<PathBuf>> {
    host::reap(dry_run)
}
