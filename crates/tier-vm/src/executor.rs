//! The tier as the engine sees it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use axo_core::{
    BoxFuture, Capabilities, Executor, Form, GrantKind, LimitKind, Outcome, PlacedCall, Readiness,
    RunError, Tier,
};
use axo_guest_proto::{PrepareTool, Renew, Request};
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, PREFIX, Unavailable};
use axo_tier_oci::{CgroupDriver, ContainedTool, ContainedTools};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::{sleep, timeout};

use crate::agent::{AGENT_PORT, ANSWER, AgentError, Operation};
use crate::api::ApiError;
use crate::artifacts::Artifacts;
use crate::call::{self, Unfinished};
use crate::failed::{Failed, failed};
use crate::kvm;
use crate::machine::{Guest, Machine, MachineConfig, MachineError, SnapshotFiles, SnapshotTarget};
use crate::snapshots::Snapshots;
use crate::wanted::Wanted;

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
    grants: &[GrantKind::Env],
};
/// How long a guest may take to boot, up to its agent: half a minute on an emulated processor.
const BOOT: Duration = Duration::from_secs(120);
/// How long after a connection that the guest has given up the next one is made.
const RENEW_PAUSE: Duration = Duration::from_millis(2);
/// The kernel's. Firecracker's devices are told by ACPI, and none of a PC's is looked for.
pub(crate) const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 reboot=k panic=-1 i8042.noaux i8042.nomux \
     i8042.dumbkbd rdinit=/init";

/// How the tier works on this host.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// The data directory that Firecracker, its jailer and the guest's kernel were installed in.
    pub installed: PathBuf,
    /// The data directory for what is made of them and of tools: initramfs, disks, snapshots.
    pub data: PathBuf,
    /// The image store; without one nothing runs.
    pub images: Option<PathBuf>,
    /// Patterns of image references that a call may pull.
    pub trusted_images: Vec<String>,
    /// Most calls at once; further ones wait.
    pub concurrency: u32,
}

/// Tier 3.
pub struct VmExecutor {
    inner: Arc<Inner>,
}

struct Inner {
    config: VmConfig,
    host: Result<Host, Unavailable>,
    tools: ContainedTools,
    snapshots: Snapshots,
    permits: Semaphore,
    /// The first machine has enabled controllers.
    enabled: OnceLock<()>,
    /// Read by whoever looks after a runner that is ending.
    endings: Arc<RwLock<()>>,
}

/// What machines are made with.
pub(crate) struct Host {
    pub(crate) artifacts: Artifacts,
    pub(crate) cgroups: CgroupHost,
}

impl Host {
    /// `installed` is the data directory that Firecracker and all that belongs to it are in.
    pub(crate) fn examine(installed: &Path) -> Result<Self, Unavailable> {
        let unavailable = |reason: String, fix: &str| Unavailable {
            reason,
            fix: fix.to_owned(),
        };
        // First, because it takes no time, and on most hosts is the answer.
        let artifacts = Artifacts::open(installed).map_err(|error| {
            unavailable(
                axo_core::chain(&error),
                "as root: axocoatl microvm setup --help",
            )
        })?;
        kvm::examine().map_err(|error| unavailable(axo_core::chain(&error), error.fix()))?;
        Ok(Self {
            artifacts,
            cgroups: CgroupHost::examine(CgroupDriver::Direct)?,
        })
    }
}

impl VmExecutor {
    /// A tier that works as `config` says. Looks at the host, and starts nothing that stays.
    #[must_use]
    pub fn new(config: VmConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                host: Host::examine(&config.installed),
                tools: ContainedTools::new(config.images.clone(), config.trusted_images.clone()),
                snapshots: Snapshots::beneath(&config.data),
                permits: Semaphore::new(config.concurrency.max(1) as usize),
                enabled: OnceLock::new(),
                endings: Arc::default(),
                config,
            }),
        }
    }
}

impl Inner {
    /// Reads as the way of a call on this tier.
    async fn run(&self, call: PlacedCall) -> Result<Outcome, Failed> {
        let host = self.host()?;
        let (tool, wanted) = self.wanted(&call, host).await?;
        let launch = tool.launch(&call).map_err(Failed::Told)?;
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Closed)?;
        let (mut machine, stored) = match self.restored(host, &wanted).await {
            Some(machine) => (machine, true),
            None => (self.booted(host, &wanted, None).await?, false),
        };
        let mut run = call::run(&machine, &launch, &call).await;
        if let Err(Unfinished {
            started: false,
            failed,
        }) = &run
            && stored
        {
            // What is stored may be at fault, and nothing of the tool has run: once more, without it.
            tracing::warn!(error = %axo_core::chain(failed), "a stored machine is of no use, and removed");
            self.snapshots.forget(&wanted.key);
            let _ = machine.end().await;
            machine = self.booted(host, &wanted, None).await?;
            run = call::run(&machine, &launch, &call).await;
        }
        // The outcome, or the failure, is told when nothing of the machine is left.
        let ended = machine.end().await;
        let end = run.map_err(|unfinished| unfinished.failed)?;
        ended?;
        Ok(call.conclude(tool.finish(end)))
    }

    /// Makes the snapshot that the tool's calls begin with, unless it is there and works.
    async fn prepare(&self, call: &PlacedCall) -> Result<(), Failed> {
        let host = self.host()?;
        let (tool, wanted) = self.wanted(call, host).await?;
        tool.launch(call).map_err(Failed::Told)?;
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Closed)?;
        if let Some(machine) = self.restored(host, &wanted).await {
            machine.end().await?;
            return Ok(());
        }
        let snapshots = self.snapshots.clone();
        let (target, staged) = snapshots
            .begin()
            .map_err(io::Error::other)
            .and_then(|staged| Ok((SnapshotTarget::create(staged.path())?, staged)))
            .map_err(Failed::files("making a place for a snapshot"))?;
        let machine = self.booted(host, &wanted, Some(target)).await?;
        machine.snapshot().await?;
        tokio::task::spawn_blocking(move || snapshots.keep(&wanted.key, staged))
            .await
            .map_err(|_| Failed::Closed)?
            .map_err(Failed::files("keeping a snapshot"))
    }

    fn host(&self) -> Result<&Host, Failed> {
        self.host
            .as_ref()
            .map_err(|unavailable| Failed::Host(unavailable.clone()))
    }

    async fn wanted(
        &self,
        call: &PlacedCall,
        host: &Host,
    ) -> Result<(ContainedTool, Wanted), Failed> {
        let tool = self.tools.open(call.spec()).await.map_err(Failed::Told)?;
        let wanted = Wanted::of(call, &tool, &self.config.data, &host.artifacts).await?;
        Ok((tool, wanted))
    }

    /// A new machine in which the tool's container waits.
    async fn booted(
        &self,
        host: &Host,
        wanted: &Wanted,
        target: Option<SnapshotTarget>,
    ) -> Result<Machine, Failed> {
        let open = |path: &Path| {
            File::open(path).map_err(Failed::files("opening what a guest boots from"))
        };
        let guest = Guest {
            vcpus: wanted.size.vcpus,
            memory_mib: wanted.size.memory_mib,
            kernel: open(&host.artifacts.kernel)?,
            initramfs: wanted
                .initramfs
                .try_clone()
                .map_err(Failed::files("opening what a guest boots from"))?,
            command_line: COMMAND_LINE.to_owned(),
        };
        let machine = Machine::boot(
            self.config_of(host, wanted, target.is_some())?,
            &guest,
            target,
        )
        .await?;
        let request = Request::PrepareTool(PrepareTool {
            prepare: wanted.prepare.clone(),
            files: wanted.disks.len() > 1,
        });
        let stream = machine.connect(AGENT_PORT, BOOT).await?;
        match Operation::done(stream, &request, BOOT).await {
            Ok(()) => Ok(machine),
            Err(source) => {
                let console = machine.last_lines();
                let _ = machine.end().await;
                Err(Failed::Agent { source, console })
            }
        }
    }

    /// A clone of the snapshot of such a machine, if there is one. One that Firecracker refuses is
    /// removed. Whatever else fails, the machine boots: it is slower without a snapshot, and not
    /// impossible.
    async fn restored(&self, host: &Host, wanted: &Wanted) -> Option<Machine> {
        let (snapshots, key) = (self.snapshots.clone(), Arc::clone(&wanted.key));
        let found = tokio::task::spawn_blocking(move || snapshots.find(&key)).await;
        let kept = found.ok().flatten()?;
        match self.restore(host, wanted, &kept).await {
            Ok(machine) => Some(machine),
            Err(error) => {
                tracing::warn!(error = %axo_core::chain(&error), "a stored machine was not restored");
                if let Failed::Machine(MachineError::Api {
                    source: ApiError::Refused { .. },
                    ..
                }) = error
                {
                    self.snapshots.forget(&wanted.key);
                }
                None
            }
        }
    }

    async fn restore(
        &self,
        host: &Host,
        wanted: &Wanted,
        kept: &SnapshotFiles,
    ) -> Result<Machine, Failed> {
        let machine = Machine::restore(self.config_of(host, wanted, false)?, kept).await?;
        let mut seed = vec![0; Renew::SEED_BYTES];
        getrandom(&mut seed).map_err(Failed::files("drawing randomness"))?;
        let renewed = async {
            loop {
                let stream = machine.connect(AGENT_PORT, ANSWER).await?;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let request = Request::Renew(Renew {
                    now_nanos: u64::try_from(now.unwrap_or_default().as_nanos())
                        .unwrap_or(u64::MAX),
                    seed: seed.clone(),
                });
                match Operation::done(stream, &request, ANSWER).await {
                    // The guest learns that its connections are gone a moment after it has gone on,
                    // and takes this one for one of them.
                    Err(AgentError::Broken(_)) => sleep(RENEW_PAUSE).await,
                    done => return done.map_err(Failed::from),
                }
            }
        };
        let late = Failed::from(AgentError::Late(ANSWER));
        let renewed: Result<(), Failed> = timeout(ANSWER, renewed).await.unwrap_or(Err(late));
        match renewed {
            Ok(()) => Ok(machine),
            Err(failed) => {
                let _ = machine.end().await;
                Err(failed)
            }
        }
    }

    /// What every machine has, with a cgroup of its own.
    fn config_of(
        &self,
        host: &Host,
        wanted: &Wanted,
        stores: bool,
    ) -> Result<MachineConfig, Failed> {
        if self.enabled.get().is_none() {
            host.cgroups.enable().map_err(Failed::Host)?;
            let _ = self.enabled.set(());
        }
        let doing = || Failed::files("opening what a machine is made of");
        let id = format!("{PREFIX}vm-{}", uuid::Uuid::new_v4());
        let limits = wanted.size.on_the_host(&wanted.limits, stores);
        Ok(MachineConfig {
            firecracker: File::open(&host.artifacts.firecracker).map_err(doing())?,
            jailer: File::open(&host.artifacts.jailer).map_err(doing())?,
            disks: wanted
                .disks
                .iter()
                .map(File::try_clone)
                .collect::<Result<_, _>>()
                .map_err(doing())?,
            cgroup: host.cgroups.of_machine(&id, &limits),
            left_behind: LeftBehind::cgroup(
                host.cgroups.clone(),
                id.clone(),
                Arc::clone(&self.endings),
            ),
            id,
        })
    }
}

fn getrandom(seed: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut seed[filled..], flags)?;
    }
    Ok(())
}

impl Executor for VmExecutor {
    fn tier(&self) -> Tier {
        Tier::MicroVm
    }

    fn readiness(&self) -> Readiness {
        match &self.inner.host {
            Ok(_) => Readiness::Ready(CAPABILITIES),
            Err(unavailable) => Readiness::Unavailable {
                reason: unavailable.reason.clone(),
                fix: unavailable.fix.clone(),
            },
        }
    }

    fn run(&self, call: PlacedCall) -> BoxFuture<'_, Result<Outcome, RunError>> {
        let spec = Arc::clone(call.spec());
        Box::pin(async move { self.inner.run(call).await.map_err(|e| failed(&spec, e)) })
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
