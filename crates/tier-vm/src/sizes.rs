//! How large a machine is for the limits of a call, and what it is accounted for on the host.

use axo_core::{CpuShare, EffectiveLimits, Size};

/// Memory that a guest takes beside its tool, in MiB: kernel, initramfs, agent, and an input of the
/// largest size.
const GUEST_MIB: u64 = 192;
/// The part of a guest's memory that its kernel takes for keeping account of it: one in so many.
const GUEST_PAGES: u64 = 64;
/// And of the host's, for mapping it.
const HOST_PAGES: u64 = 128;
/// Memory of the host that a machine takes beside its guest's, in MiB: the VMM and page tables.
const VMM_MIB: u64 = 64;
/// Processors of a machine, at most: Firecracker's own limit.
const MAX_VCPUS: u8 = 32;
/// Memory of a machine, at most, in MiB: beyond it a number that was mistyped is likelier than a tool
/// that needs it.
const MAX_MIB: u64 = 1 << 20;
/// Threads of a machine on the host: the VMM's, one a processor, our supervisor.
const THREADS: u32 = 16;

/// A machine's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct MachineSize {
    pub(crate) vcpus: u8,
    pub(crate) memory_mib: u32,
}

/// A limit that no machine can be made for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("{0} cores, where {MAX_VCPUS} is the most of a machine")]
    Cpu(f64),
    #[error("{0} of memory, where {MAX_MIB} MiB is the most of a machine")]
    Memory(Size),
}

impl MachineSize {
    /// As large as `limits` need, and no larger: the tool's own limits hold inside.
    pub(crate) fn of(limits: &EffectiveLimits) -> Result<Self, SizeError> {
        let cores = limits.cpu.cores().ceil();
        if cores > f64::from(MAX_VCPUS) {
            return Err(SizeError::Cpu(limits.cpu.cores()));
        }
        let mib = limits.memory.bytes().div_ceil(1 << 20) + GUEST_MIB;
        let mib = mib + mib / GUEST_PAGES;
        if mib > MAX_MIB {
            return Err(SizeError::Memory(limits.memory));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "both are checked to fit"
        )]
        let size = Self {
            vcpus: (cores as u8).max(1),
            memory_mib: mib as u32,
        };
        Ok(size)
    }

    /// What the host's cgroup holds the whole machine to, whatever its guest does. One that is to be
    /// stored writes a file as large as its memory, which counts where that is in memory too.
    pub(crate) fn on_the_host(self, limits: &EffectiveLimits, stores: bool) -> EffectiveLimits {
        let guest = u64::from(self.memory_mib) * if stores { 2 } else { 1 };
        EffectiveLimits {
            cpu: CpuShare::from_cores(self.vcpus.into()).unwrap_or(CpuShare::ONE),
            memory: Size::from_mib(guest + guest / HOST_PAGES + VMM_MIB),
            pids: THREADS + u32::from(self.vcpus),
            ..*limits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cores: f64, mib: u64) -> EffectiveLimits {
        EffectiveLimits {
            cpu: CpuShare::from_cores(cores).unwrap(),
            memory: Size::from_mib(mib),
            ..EffectiveLimits::DEFAULT
        }
    }

    #[test]
    fn a_machine_holds_its_tool_and_its_kernel() {
        let size = MachineSize::of(&limits(0.5, 128)).unwrap();
        assert_eq!((size.vcpus, size.memory_mib), (1, 325));
        assert_eq!(MachineSize::of(&limits(1.5, 1)).unwrap().vcpus, 2);
        let host = size.on_the_host(&limits(0.5, 128), false);
        assert_eq!(host.memory, Size::from_mib(391));
        assert!(host.cpu.cores() >= 1.0);
    }

    #[test]
    fn what_no_machine_can_have_is_refused() {
        assert!(MachineSize::of(&limits(33.0, 128)).is_err());
        assert!(MachineSize::of(&limits(1.0, 2 << 20)).is_err());
    }
}
