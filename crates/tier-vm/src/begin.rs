//! How a machine is got whose container waits: one that waits itself, a clone of one that was stored,
//! or one that boots, whatever is there.
//!
//! ```text
//! pool ──renewed──▶ ┐
//! snapshot ──restored, renewed──▶ a machine for one call
//! kernel ──booted, container made──▶ ┘
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axo_guest_proto::machine::PORT;
use axo_guest_proto::{PrepareTool, Request};
use axo_tier_oci::supervise::{PREFIX, Pool};

use crate::agent::{ANSWER, Operation};
use crate::api::ApiError;
use crate::failed::Failed;
use crate::host::Host;
use crate::machine::{
    Machine, MachineConfig, MachineError, RESTORING, SnapshotFiles, SnapshotTarget,
};
use crate::renew::renew;
use crate::snapshots::Snapshots;
use crate::wanted::Wanted;

/// How long a guest may take to boot, up to its agent, and its agent to make a container: half a minute
/// each on an emulated processor.
const BOOT: Duration = Duration::from_secs(120);
/// How long a machine that waited may take to answer: it has before, and others can be made.
const WAKE: Duration = Duration::from_secs(10);
/// Most machines that wait, of all tools together: each costs a Firecracker, and the memory that its
/// guest has written.
const MAX_WAITING: usize = 32;
/// What a guest's kernel is told. Firecracker's devices are told by ACPI, and none of a PC's is looked
/// for; it is silent but for emergencies, because each byte on the console costs an exit to the VMM.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=1 reboot=k panic=-1 i8042.noaux i8042.nomux \
     i8042.dumbkbd rdinit=/init";

/// Where a machine came from, the quickest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    Pool,
    Snapshot,
    Boot,
}

/// What machines begin with.
pub(crate) struct Beginnings {
    snapshots: Snapshots,
    /// Machines that wait. Each runs, and its agent has answered; none has served a call.
    pub(crate) pool: Pool<Machine>,
}

impl Beginnings {
    /// Snapshots are beneath the engine's data directory; `warm` machines a tool wait.
    pub(crate) fn new(data: &Path, warm: usize) -> Self {
        Self {
            snapshots: Snapshots::beneath(data),
            pool: Pool::new(warm, MAX_WAITING, Machine::lives),
        }
    }

    /// A machine for a call, of the quickest origin there is from `first` on.
    pub(crate) async fn machine(
        &self,
        host: &Host,
        wanted: &Wanted,
        first: Origin,
    ) -> Result<(Machine, Origin), Failed> {
        if first <= Origin::Pool
            && let Some(machine) = self.waiting(wanted).await
        {
            return Ok((machine, Origin::Pool));
        }
        if first <= Origin::Snapshot
            && let Some(machine) = self.restored(host, wanted).await
        {
            return Ok((machine, Origin::Snapshot));
        }
        Ok((self.booted(host, wanted, None).await?, Origin::Boot))
    }

    /// One that waits. It is renewed only now: it may have waited for hours. One that does not answer
    /// is of no use, and others can be made.
    async fn waiting(&self, wanted: &Wanted) -> Option<Machine> {
        let machine = self.pool.take(&wanted.key)?;
        match renew(&machine, WAKE).await {
            Ok(()) => Some(machine),
            Err(error) => {
                tracing::warn!(error = %axo_core::chain(&error), "a machine that waited is of no use");
                let _ = machine.end().await;
                None
            }
        }
    }

    /// A clone of the stored machine, if there is one. Whatever fails, the machine boots: it is slower
    /// without, and not impossible.
    pub(crate) async fn restored(&self, host: &Host, wanted: &Wanted) -> Option<Machine> {
        let kept = self.stored(wanted).await?;
        match self.clone_of(host, wanted, &kept).await {
            Ok(machine) => Some(machine),
            Err(error) => {
                tracing::warn!(error = %axo_core::chain(&error), "a stored machine was not restored");
                None
            }
        }
    }

    /// A machine that is to wait: a clone of the stored one, which is made first if there is none. What
    /// clones do not write to is in memory once.
    pub(crate) async fn clone_of_stored(
        &self,
        host: &Host,
        wanted: &Wanted,
    ) -> Result<Machine, Failed> {
        let kept = match self.stored(wanted).await {
            Some(kept) => kept,
            None => {
                self.store(host, wanted).await?;
                let gone = "it was removed at once";
                let kept = self.stored(wanted).await;
                kept.ok_or(gone)
                    .map_err(Failed::files("finding a machine that was stored"))?
            }
        };
        self.clone_of(host, wanted, &kept).await
    }

    async fn stored(&self, wanted: &Wanted) -> Option<SnapshotFiles> {
        let (snapshots, key) = (self.snapshots.clone(), Arc::clone(&wanted.key.made_of));
        let found = tokio::task::spawn_blocking(move || snapshots.find(&key)).await;
        found.ok().flatten()
    }

    /// A stored machine that cannot be restored, or does not answer then, is removed: without it calls boot,
    /// until another is stored. What only happened to this clone, as a user or a cgroup that was not had,
    /// is not its fault.
    async fn clone_of(
        &self,
        host: &Host,
        wanted: &Wanted,
        kept: &SnapshotFiles,
    ) -> Result<Machine, Failed> {
        let restored = Machine::restore(config(host, wanted, false)?, kept).await;
        let machine = restored.inspect_err(|error| {
            if let MachineError::Ended {
                doing: RESTORING, ..
            }
            | MachineError::Api {
                source: ApiError::Refused { .. } | ApiError::Broken { .. },
                ..
            } = error
            {
                self.forget(wanted);
            }
        })?;
        match renew(&machine, ANSWER).await {
            Ok(()) => Ok(machine),
            Err(failed) => {
                self.forget(wanted);
                let _ = machine.end().await;
                Err(failed)
            }
        }
    }

    /// Removes what is stored of such a machine.
    pub(crate) fn forget(&self, wanted: &Wanted) {
        self.snapshots.forget(&wanted.key.made_of);
    }

    /// Boots such a machine, and stores it for later ones.
    pub(crate) async fn store(&self, host: &Host, wanted: &Wanted) -> Result<(), Failed> {
        let (snapshots, key) = (self.snapshots.clone(), Arc::clone(&wanted.key.made_of));
        let disks = wanted.mounted.clone();
        let (target, staged) = snapshots
            .begin()
            .map_err(io::Error::other)
            .and_then(|staged| Ok((SnapshotTarget::create(staged.path())?, staged)))
            .map_err(Failed::files("making a place for a snapshot"))?;
        let machine = self.booted(host, wanted, Some(target)).await?;
        machine.snapshot().await?;
        tokio::task::spawn_blocking(move || snapshots.keep(&key, staged, &disks))
            .await
            .map_err(Failed::files("keeping a snapshot"))?
            .map_err(Failed::files("keeping a snapshot"))
    }

    /// A new machine in which the tool's container waits.
    async fn booted(
        &self,
        host: &Host,
        wanted: &Wanted,
        target: Option<SnapshotTarget>,
    ) -> Result<Machine, Failed> {
        let stores = target.is_some();
        let guest = host.guest(wanted.size, &wanted.initramfs)?;
        let config = config(host, wanted, stores)?;
        let machine = Machine::boot(config, &guest, target).await?;
        let request = Request::PrepareTool(PrepareTool {
            prepare: wanted.prepare.clone(),
            files: wanted.disks.len() > 1,
            ahead: match stores {
                true => wanted.program.clone(),
                false => Vec::new(),
            },
        });
        made_ready(machine, &request).await
    }
}

fn config(host: &Host, wanted: &Wanted, stores: bool) -> Result<MachineConfig, Failed> {
    let id = format!("{PREFIX}vm-{}", uuid::Uuid::new_v4());
    let limits = wanted.size.on_the_host(&wanted.limits, stores);
    host.config(id, &wanted.disks, &limits)
}

/// Waits until the guest has booted, and has its agent do this.
pub(crate) async fn made_ready(machine: Machine, request: &Request) -> Result<Machine, Failed> {
    let stream = machine.connect(PORT, BOOT).await?;
    match Operation::done(stream, request, BOOT).await {
        Ok(()) => Ok(machine),
        Err(source) => {
            let console = machine.last_lines();
            let _ = machine.end().await;
            Err(Failed::Agent { source, console })
        }
    }
}
