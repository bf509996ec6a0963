//! What machines are made with on this host, found once.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use axo_core::EffectiveLimits;
use axo_tier_oci::CgroupDriver;
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, Unavailable, reap_of};
use tokio::sync::RwLock;

use crate::artifacts::Artifacts;
use crate::begin::COMMAND_LINE;
use crate::failed::Failed;
use crate::kvm;
use crate::machine::{Guest, MachineConfig};
use crate::sizes::MachineSize;

/// Firecracker, its jailer, the guest's kernel, and cgroups.
pub(crate) struct Host {
    pub(crate) artifacts: Artifacts,
    cgroups: CgroupHost,
    /// The first machine has enabled controllers.
    enabled: OnceLock<()>,
    /// Read by whoever looks after a runner that is ending.
    endings: Arc<RwLock<()>>,
}

impl Host {
    /// `installed` is the data directory that they were installed in. Starts a guest of a few
    /// instructions.
    pub(crate) fn examine(installed: &Path) -> Result<Self, Unavailable> {
        let unavailable = |reason: String, fix: &str| Unavailable {
            reason,
            fix: fix.to_owned(),
        };
        // First, because it takes no time, and on most hosts is the answer.
        let artifacts =
            Artifacts::open(installed).map_err(|error| unavailable(error.reason(), error.fix()))?;
        kvm::examine().map_err(|error| unavailable(axo_core::chain(&error), error.fix()))?;
        Ok(Self {
            artifacts,
            cgroups: CgroupHost::examine(CgroupDriver::Direct)?,
            enabled: OnceLock::new(),
            endings: Arc::default(),
        })
    }

    /// Removes the cgroups of machines whose runners were killed with their engine.
    pub(crate) fn reap(&self) -> io::Result<()> {
        reap_of(&self.cgroups).map(drop)
    }

    /// What the machine `id` has, with a cgroup of its own that holds it to these limits.
    pub(crate) fn config(
        &self,
        id: String,
        disks: &[File],
        limits: &EffectiveLimits,
    ) -> Result<MachineConfig, Failed> {
        if self.enabled.get().is_none() {
            self.cgroups.enable().map_err(Failed::Host)?;
            let _ = self.enabled.set(());
        }
        let doing = || Failed::files("opening what a machine is made of");
        let disks = disks.iter().map(File::try_clone).collect::<Result<_, _>>();
        Ok(MachineConfig {
            firecracker: File::open(&self.artifacts.firecracker).map_err(doing())?,
            jailer: File::open(&self.artifacts.jailer).map_err(doing())?,
            disks: disks.map_err(doing())?,
            cgroup: self.cgroups.of_machine(&id, limits),
            left_behind: LeftBehind::cgroup(
                self.cgroups.clone(),
                id.clone(),
                Arc::clone(&self.endings),
            ),
            id,
        })
    }

    /// What a machine of this size boots.
    pub(crate) fn guest(&self, size: MachineSize, initramfs: &File) -> Result<Guest, Failed> {
        let doing = || Failed::files("opening what a guest boots from");
        Ok(Guest {
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
            kernel: File::open(&self.artifacts.kernel).map_err(doing())?,
            initramfs: initramfs.try_clone().map_err(doing())?,
            command_line: COMMAND_LINE.to_owned(),
        })
    }
}
