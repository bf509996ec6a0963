//! The tier as the engine sees it.

use std::path::PathBuf;
use std::sync::{Arc, Once};

use axo_core::{
    BoxFuture, Capabilities, Executor, Form, GrantKind, LimitKind, Outcome, PlacedCall, Readiness,
    RunError, Tier,
};
use axo_tier_oci::ContainedTools;
use axo_tier_oci::supervise::{Fillings, Unavailable};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};

use crate::begin::{Beginnings, Origin};
use crate::call::{self, Unfinished};
use crate::failed::{Failed, failed};
use crate::gc;
use crate::host::Host;
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
    /// Machines that are kept ready, a tool. They are no calls, and wait beside those.
    pub warm: usize,
    /// Whether the first call removes what dead engines left. Not for one who only looks.
    pub reap: bool,
}

/// Tier 3.
pub struct VmExecutor {
    inner: Arc<Inner>,
    /// Dropped with this, which those hear who make machines for later calls.
    _lives: watch::Sender<()>,
}

struct Inner {
    host: Result<Arc<Host>, Unavailable>,
    data: PathBuf,
    /// What dead engines left is removed once, by the first call.
    reaped: Once,
    reap: bool,
    tools: ContainedTools,
    beginnings: Beginnings,
    permits: Semaphore,
    /// Machines that are made for later calls.
    fillings: Fillings<Wanted>,
    /// One such machine at a time: it is for idle moments.
    making: AsyncMutex<()>,
    executor: watch::Receiver<()>,
}

impl VmExecutor {
    /// A tier that works as `config` says. Looks at the host, for which it runs a guest of a few
    /// instructions where the tier is set up: that takes some milliseconds, and blocks for 10 s where KVM
    /// hangs. Starts nothing that stays.
    #[must_use]
    pub fn new(config: VmConfig) -> Self {
        let (lives, executor) = watch::channel(());
        Self {
            inner: Arc::new(Inner {
                host: Host::examine(&config.installed).map(Arc::new),
                tools: ContainedTools::new(config.images, config.trusted_images),
                beginnings: Beginnings::new(&config.data, config.warm),
                permits: Semaphore::new(config.concurrency.max(1) as usize),
                data: config.data,
                reaped: Once::new(),
                reap: config.reap,
                fillings: Fillings::default(),
                making: AsyncMutex::default(),
                executor,
            }),
            _lives: lives,
        }
    }
}

impl Drop for VmExecutor {
    fn drop(&mut self) {
        // A filling that is under way ends at its next step, and all that it has made with it.
        self.inner.beginnings.pool.drain();
    }
}

impl Inner {
    /// Reads as the way of a call on this tier.
    async fn run(self: &Arc<Self>, call: PlacedCall) -> Result<Outcome, Failed> {
        let host = self.host()?;
        let tool = self.tools.open(call.spec()).await.map_err(Failed::Told)?;
        let launch = tool.launch(&call).map_err(Failed::Told)?;
        // For the tool's disks, too, which may take long to make.
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Closed)?;
        let wanted = Wanted::of(&call, &tool, &self.data, &host.artifacts).await?;
        let mut first = Origin::Pool;
        let (run, ended) = loop {
            let (machine, origin) = self.beginnings.machine(host, &wanted, first).await?;
            let run = call::run(&machine, &launch, &call).await;
            // The outcome, or the failure, is told when nothing of the machine is left.
            let ended = machine.end().await;
            // A machine that was not booted for this call may be at fault, and nothing of the tool has
            // run: once more, with one of another origin.
            first = match (&run, origin) {
                (Err(Unfinished { failed, .. }), _) if failed.is_the_tools() => break (run, ended),
                (Err(Unfinished { started: false, .. }), Origin::Pool) => Origin::Snapshot,
                (Err(Unfinished { started: false, .. }), Origin::Snapshot) => {
                    self.beginnings.forget(&wanted);
                    Origin::Boot
                }
                _ => break (run, ended),
            };
            if let Err(Unfinished { failed, .. }) = &run {
                tracing::warn!(error = %axo_core::chain(failed), ?origin, "a machine that was made before is of no use");
            }
        };
        let end = run.map_err(|unfinished| unfinished.failed)?;
        ended?;
        self.fill(wanted);
        Ok(call.conclude(tool.finish(end)))
    }

    /// Makes the snapshot that the tool's calls begin with, unless it is there and works. The machine
    /// that shows it waits for a call where that is asked for.
    async fn prepare(self: &Arc<Self>, call: &PlacedCall) -> Result<(), Failed> {
        let host = self.host()?;
        let tool = self.tools.open(call.spec()).await.map_err(Failed::Told)?;
        tool.launch(call).map_err(Failed::Told)?;
        let _permit = self.permits.acquire().await.map_err(|_| Failed::Closed)?;
        let wanted = Wanted::of(call, &tool, &self.data, &host.artifacts).await?;
        let pool = &self.beginnings.pool;
        match self.beginnings.restored(host, &wanted).await {
            Some(machine) if pool.wants(&wanted.key) > 0 => {
                pool.put(wanted.key.clone(), machine);
            }
            Some(machine) => drop(machine.end().await?),
            None => self.beginnings.store(host, &wanted).await?,
        }
        self.fill(wanted);
        Ok(())
    }

    /// The host, made ready for a first machine. Examining it has changed nothing.
    fn host(&self) -> Result<&Host, Failed> {
        let host = self.host.as_ref();
        let host = host.map_err(|unavailable| Failed::Host(unavailable.clone()))?;
        if self.reap {
            self.reaped.call_once(|| {
                let (host, data) = (Arc::clone(host), self.data.clone());
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = host.reap() {
                        tracing::warn!(%error, "what dead runners left was not removed");
                    }
                    if let Err(error) = gc::abandoned(&data) {
                        tracing::warn!(error = %axo_core::chain(&error), "what dead engines left was not removed");
                    }
                });
            });
        }
        Ok(host)
    }

    /// Makes machines for later calls, in the background, as long as the executor lives.
    fn fill(self: &Arc<Self>, wanted: Wanted) {
        if self.beginnings.pool.wants(&wanted.key) == 0 {
            return;
        }
        let inner = Arc::clone(self);
        let mut executor = self.executor.clone();
        tokio::spawn(async move {
            let begun = inner.fillings.begin(wanted.key.tool, wanted);
            let Some((mut filling, first)) = begun else {
                return;
            };
            let filled = async {
                let mut next = Some(first);
                while let Some(wanted) = next {
                    inner.fill_up(&wanted).await;
                    next = filling.newest();
                }
            };
            tokio::select! {
                biased;
                // Nothing is ever sent: it is gone.
                _ = executor.changed() => {}
                () = filled => {}
            }
        });
    }

    /// Makes as many machines as are wanted now, clones of one that is stored: what they do not write
    /// to is there once.
    async fn fill_up(&self, wanted: &Wanted) {
        let Ok(host) = &self.host else { return };
        let Beginnings { pool, .. } = &self.beginnings;
        for _ in 0..pool.wants(&wanted.key) {
            let _one_at_a_time = self.making.lock().await;
            if pool.wants(&wanted.key) == 0 {
                return;
            }
            match self.beginnings.clone_of_stored(host, wanted).await {
                Ok(machine) => pool.put(wanted.key.clone(), machine),
                Err(error) => {
                    // The next call makes its own, and is told.
                    tracing::warn!(error = %axo_core::chain(&error), "a warm machine was not made");
                    return;
                }
            }
        }
    }
}

impl Executor for VmExecutor {
    fn tier(&self) -> Tier {
        Tier::MicroVm
    }

    fn readiness(&self) -> Readiness {
        match &self.inner.host {
            Ok(_) => Readiness::Ready(CAPABILITIES),
            Err(unavailable) => unavailable.into(),
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
