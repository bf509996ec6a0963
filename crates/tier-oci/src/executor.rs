//! The tier as the engine sees it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

use axo_core::{
    BoxFuture, Capabilities, Executor, Finished, Form, GrantKind, LimitKind, MAX_INPUT_BYTES,
    Mount, Outcome, PlacedCall, Readiness, Run, RunError, SpecId, Tier, ToolName, ToolSpec,
};
use axo_runner::{Bind, Launch, MAX_DESCRIPTORS, Prepare, Scratch, Stage};
use tokio::sync::{Mutex as AsyncMutex, RwLock, Semaphore};

use crate::call;
use crate::failed::{Failed, failed};
use crate::filling::Fillings;
use crate::host::{self, CgroupDriver, Host, Lacking, PREFIX};
use crate::pool::{Key, Pool};
use crate::runner::{LeftBehind, RunnerError};
use crate::sandbox::{Ended, Waiting};
use crate::seccomp;
use crate::spec;
use crate::tool::{self, ImageSource, MAX_COMMAND_BYTES, Tool};

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
/// Files and directories in a tool's scratch space.
const SCRATCH_INODES: u64 = 8192;
/// Most mounts of a call, its tool's own files among them: each is a descriptor of one packet, beside
/// the two streams and the root.
const MAX_MOUNTS: usize = MAX_DESCRIPTORS - 3;
/// Most bytes of their targets together: one packet says them two times, once with escapes twice over.
const MAX_TARGET_BYTES: usize = 8 << 10;
/// How long after a first try to remove what a runner left it is tried again: what shared its lock
/// may have ended a little later.
const REAP_AGAIN: Duration = Duration::from_millis(500);

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
    host: Result<Host, Lacking>,
    images: ImageSource,
    turns: Semaphore,
    pool: Pool,
    /// Images that were opened, by the tool's loading: an image does not change.
    opened: Mutex<HashMap<SpecId, Arc<Tool>>>,
    /// Containers that are made for later calls.
    fillings: Fillings<(Arc<Tool>, Order)>,
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
                turns: Semaphore::new(config.concurrency.max(1) as usize),
                pool: Pool::new(config.warm),
                opened: Mutex::default(),
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
        self.inner.turns.close();
        self.inner.pool.drain();
    }
}

impl Inner {
    /// Reads as the way of a call on this tier.
    async fn run(self: &Arc<Self>, call: PlacedCall) -> Result<Outcome, Failed> {
        let host = self.host.as_ref().map_err(Failed::from)?;
        let tool = self.tool(call.spec(), host).await?;
        let launch = launch(&tool, &call)?;
        let order = Order::new(&call, &tool).await?;
        let _turn = self.turns.acquire().await.map_err(|_| Failed::Closed)?;
        let waiting = match self.pool.take(&order.key) {
            Some(waiting) => waiting,
            None => self.make(host, &tool, &order).await?,
        };
        let (finished, ended): (Finished, Ended) = call::run(waiting, launch, &tool, &call).await?;
        // The outcome is told when nothing of the sandbox is left.
        ended.gone().await?;
        self.fill(tool, order);
        Ok(call.conclude(finished))
    }

    async fn prepare(self: &Arc<Self>, call: &PlacedCall) -> Result<(), Failed> {
        let host = self.host.as_ref().map_err(Failed::from)?;
        let tool = self.tool(call.spec(), host).await?;
        launch(&tool, call)?;
        let order = Order::new(call, &tool).await?;
        let waiting = self.make(host, &tool, &order).await?;
        self.pool.put(order.key, waiting);
        Ok(())
    }

    /// The tool, opened. A bundle is looked at for every call, because it may have changed.
    async fn tool(&self, spec: &ToolSpec, host: &Host) -> Result<Arc<Tool>, Failed> {
        let known = |id| {
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.get(&id).cloned()
        };
        if let Some(tool) = known(spec.id()) {
            return Ok(tool);
        }
        let tool = tool::open(spec, &host.users, &self.images).await?;
        let tool = Arc::new(tool);
        if matches!(spec.run, Run::Image { .. }) {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.insert(spec.id(), Arc::clone(&tool));
        }
        Ok(tool)
    }

    /// Makes the host ready for a first container. Examining it has changed nothing.
    fn begin(&self, host: &Host) -> Result<(), Failed> {
        if self.enabled.get().is_none() {
            host.cgroups
                .enable()
                .map_err(|lacking| Failed::from(&lacking))?;
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
    async fn make(&self, host: &Host, tool: &Tool, order: &Order) -> Result<Waiting, Failed> {
        self.begin(host)?;
        let stage = Stage::default();
        let id = format!("{PREFIX}{}-{}", order.name, uuid::Uuid::new_v4());
        let cgroup = host.cgroups.of_sandbox(&id, &order.limits);
        let of_config = host.cgroups.of_config(&id, &order.limits);
        let targets = spec::bind_targets(tool, &order.mounts);
        let prepare = Prepare {
            id: id.clone(),
            config: spec::config(tool, &order.mounts, &stage, of_config).to_string(),
            seccomp: seccomp::filters()?.to_vec(),
            users: host.users.users(tool.user, !order.mounts.is_empty()),
            cgroup,
            scratch: Scratch {
                bytes: order.limits.disk.bytes(),
                inodes: SCRATCH_INODES,
            },
            input_bytes: MAX_INPUT_BYTES as u64,
            files: order.limits.files,
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
            .chain(&order.sources)
            .map(|source| source.as_fd())
            .collect();
        let cgroups = host.cgroups.clone();
        let left_behind = LeftBehind {
            remove: Box::new(move || {
                if !host::reap_sandbox(&cgroups, &id) {
                    std::thread::sleep(REAP_AGAIN);
                    host::reap_sandbox(&cgroups, &id);
                }
            }),
            endings: Arc::clone(&self.endings),
        };
        Ok(Waiting::make(prepare, &tool.root, &sources, left_behind).await?)
    }

    /// Makes containers for later calls, in the background.
    fn fill(self: &Arc<Self>, tool: Arc<Tool>, order: Order) {
        if self.pool.wants(&order.key) == 0 {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let begun = inner.fillings.begin(order.key.tool, (tool, order));
            let Some((mut filling, first)) = begun else {
                return;
            };
            let mut next = Some(first);
            while let Some((tool, order)) = next {
                inner.fill_up(&tool, &order).await;
                next = filling.next();
            }
        });
    }

    /// Makes as many containers as are wanted now.
    async fn fill_up(&self, tool: &Tool, order: &Order) {
        let Ok(host) = &self.host else { return };
        for _ in 0..self.pool.wants(&order.key) {
            let _one_at_a_time = self.making.lock().await;
            if self.turns.is_closed() || self.pool.wants(&order.key) == 0 {
                return;
            }
            match self.make(host, tool, order).await {
                Ok(waiting) if !self.turns.is_closed() => {
                    self.pool.put(order.key.clone(), waiting);
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

/// What a container of a call is made of, beside the tool.
struct Order {
    name: ToolName,
    key: Key,
    limits: axo_core::EffectiveLimits,
    mounts: Vec<Mount>,
    /// The sources of the mounts, opened.
    sources: Vec<OwnedFd>,
}

impl Order {
    async fn new(call: &PlacedCall, tool: &Arc<Tool>) -> Result<Self, Failed> {
        let mounts = call.mounts().to_vec();
        check_bounds(&mounts, tool)?;
        let opened = if mounts.is_empty() {
            Ok(Vec::new())
        } else {
            let (mounts, tool) = (mounts.clone(), Arc::clone(tool));
            tokio::task::spawn_blocking(move || open_mounts(&mounts, &tool))
                .await
                .unwrap_or(Err(Failed::Closed))
        };
        let sources = opened?;
        let limits = *call.limits();
        let opened: Vec<_> = sources.iter().map(tool::identity).collect();
        // The time limit is ours to keep; everything else is the container's.
        let made_of = format!(
            "{} {:?} {} {:?} {:?} {:?}",
            tool.identity,
            (limits.cpu, limits.memory, limits.pids),
            limits.files,
            limits.disk,
            mounts,
            opened,
        );
        Ok(Self {
            name: call.spec().name.clone(),
            key: Key {
                tool: call.spec().id(),
                made_of,
            },
            limits,
            mounts,
            sources,
        })
    }
}

/// What is executed for a call, if it fits in a packet.
fn launch(tool: &Tool, call: &PlacedCall) -> Result<Launch, Failed> {
    call::launch(tool, call).map_err(|bytes| Failed::Beyond {
        needs: format!(
            "variables that take {bytes} bytes with its command, where {MAX_COMMAND_BYTES} bytes is the most"
        ),
        fix: "grant it fewer or shorter variables; a document goes into the input".into(),
    })
}

/// Whether the mounts of a call fit in a packet.
fn check_bounds(mounts: &[Mount], tool: &Tool) -> Result<(), Failed> {
    let most = MAX_MOUNTS - usize::from(tool.files.is_some());
    if mounts.len() > most {
        return Err(Failed::Beyond {
            needs: format!("{} mounts, where {most} is the most", mounts.len()),
            fix: "grant it fewer directories, or one that holds them".into(),
        });
    }
    let bytes: usize = mounts.iter().map(|mount| mount.target.len()).sum();
    if bytes > MAX_TARGET_BYTES {
        return Err(Failed::Beyond {
            needs: format!(
                "mounts at places whose names take {bytes} bytes, where {MAX_TARGET_BYTES} is the most"
            ),
            fix: "grant them at shorter places".into(),
        });
    }
    Ok(())
}

/// Opens the sources of mounts, and checks where they go. Blocks on the disk.
fn open_mounts(mounts: &[Mount], tool: &Tool) -> Result<Vec<OwnedFd>, Failed> {
    let sources = mounts
        .iter()
        .map(|mount| {
            tool::open_directory(&mount.source).map_err(|source| Failed::Mount {
                mount: mount.to_string(),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    tool::check_targets(tool, mounts)?;
    Ok(sources)
}

impl Executor for OciExecutor {
    fn tier(&self) -> Tier {
        Tier::Oci
    }

    fn readiness(&self) -> Readiness {
        match &self.inner.host {
            Ok(_) => Readiness::Ready(CAPABILITIES),
            Err(lacking) => Readiness::Unavailable {
                reason: lacking.reason.clone(),
                fix: lacking.fix.clone(),
            },
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
