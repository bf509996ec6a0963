//! Tries the host's KVM with a guest of a few instructions.
//!
//! That `/dev/kvm` opens proves little: a hypervisor that is itself a guest may offer one that runs
//! only kernels made for it. So the guest is in the state that a 64-bit kernel is in, and does what
//! such a one cannot do without: a locked exchange of sixteen bytes, and a breakpoint that it handles
//! itself. Then it halts.

#[cfg(target_arch = "x86_64")]
mod x86_64;

use axo_runner::KvmFault;
use kvm_ioctls::{Error, Kvm};

/// The version of KVM's API since Linux 2.6.22, and the only one there will be.
#[cfg(target_arch = "x86_64")]
const API_VERSION: i32 = 12;
/// Longest time that this may take, in seconds: it takes a millisecond. Then the kernel ends this
/// process, and so the guest.
const SECONDS: u32 = 8;

/// Runs it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn run() -> Result<(), KvmFault> {
    end_in_time();
    let kvm = open()?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        let why = format!("its version of the API is {version}, and not {API_VERSION}");
        return Err(KvmFault::NotKvm { why });
    }
    x86_64::run(&kvm)
}

/// There are no few instructions for this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn run() -> Result<(), KvmFault> {
    end_in_time();
    open()?;
    Err(KvmFault::Unusable {
        doing: "trying it".to_owned(),
        why: "microVMs are made for x86-64 only".to_owned(),
    })
}

fn open() -> Result<Kvm, KvmFault> {
    Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmFault::Absent,
        libc::EACCES | libc::EPERM => KvmFault::Forbidden,
        // What has the name is another device.
        libc::ENOTTY | libc::EINVAL => KvmFault::NotKvm {
            why: error.to_string(),
        },
        _ => unusable("opening /dev/kvm")(error),
    })
}

#[expect(unsafe_code, reason = "there is no safe alarm")]
fn end_in_time() {
    // SAFETY: neither call touches memory; the default action of the signal ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(SECONDS);
    }
}

fn unusable(doing: &'static str) -> impl Fn(Error) -> KvmFault {
    move |error| KvmFault::Unusable {
        doing: doing.to_owned(),
        why: error.to_string(),
    }
}
