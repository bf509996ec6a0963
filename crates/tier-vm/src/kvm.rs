//! Whether this host's KVM runs guests: proved, by running one of a few instructions.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axo_runner::{KvmFault, TRY_KVM};

/// How long the proof may take: it takes milliseconds, and on a busy host with an emulated processor
/// a few hundred of them.
const TIME: Duration = Duration::from_secs(10);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(1);
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Why this host runs no microVM.
#[derive(Debug, thiserror::Error)]
pub enum NoKvm {
    /// The jailer makes namespaces and device nodes, and changes its user.
    #[error("microVMs are jailed, and only root can make a jail")]
    NotRoot,
    /// There is none.
    #[error("there is no /dev/kvm")]
    Absent,
    /// Root may not open it.
    #[error("/dev/kvm may not be opened, though by root")]
    Forbidden,
    /// Something else has the name.
    #[error("/dev/kvm is not KVM: {why}")]
    NotKvm {
        /// What it said.
        why: String,
    },
    /// It is there, and runs no guest.
    #[error("/dev/kvm opens, but its KVM cannot be used: {doing}: {why}")]
    Unusable {
        /// What was being done.
        doing: String,
        /// Why it failed.
        why: String,
    },
    /// It is there, and a guest does not come to its end.
    #[error("/dev/kvm opens, but a guest of a few instructions did not end within {0:?}")]
    Stuck(Duration),
    /// It could not be tried.
    #[error("the program that tries KVM cannot be run")]
    Untried(#[source] io::Error),
}

impl NoKvm {
    /// What would help.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotRoot => "run axocoatl as root",
            Self::Absent => {
                "enable virtualisation in the firmware (VT-x, AMD-V) and, as root, modprobe kvm_intel or \
                 kvm_amd; in a virtual machine, let its host offer nested virtualisation; in a \
                 container, pass the device on (--device /dev/kvm)"
            }
            Self::Forbidden => {
                "let this container or service use the device: --device /dev/kvm, or DeviceAllow=/dev/kvm rw"
            }
            Self::NotKvm { .. } => {
                "as root: rm /dev/kvm && modprobe kvm && mknod /dev/kvm c 10 232"
            }
            Self::Unusable { .. } | Self::Stuck(_) => {
                "this machine is itself a guest of a hypervisor that offers a KVM which does not run \
                 ordinary kernels: use one with nested virtualisation, or bare metal"
            }
            Self::Untried(_) => "see `axocoatl doctor`",
        }
    }
}

/// Runs a guest of a few instructions, in a process of its own, which takes some milliseconds and at
/// most some seconds. Blocks.
///
/// # Errors
/// Why this host runs no microVM.
pub fn examine() -> Result<(), NoKvm> {
    if !rustix::process::geteuid().is_root() {
        return Err(NoKvm::NotRoot);
    }
    let answer = tried().map_err(NoKvm::Untried)?;
    let Some(answer) = answer else {
        return Err(NoKvm::Stuck(TIME));
    };
    answer.map_err(|fault| match fault {
        KvmFault::Absent => NoKvm::Absent,
        KvmFault::Forbidden => NoKvm::Forbidden,
        KvmFault::NotKvm { why } => NoKvm::NotKvm { why },
        KvmFault::Unusable { doing, why } => NoKvm::Unusable { doing, why },
    })
}

/// What the program says; nothing if it does not end in time.
#[expect(
    clippy::disallowed_methods,
    reason = "a guest that is stuck is ended with its process"
)]
fn tried() -> io::Result<Option<Result<(), KvmFault>>> {
    let program = axo_helpers::runner().path().map_err(io::Error::other)?;
    let mut process = Command::new(program)
        .arg(TRY_KVM)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + TIME;
    let status = loop {
        match process.try_wait()? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(PAUSE),
            None => {
                process.kill()?;
                // It is reaped by whoever waits last; one that even this does not end is not waited for.
                let _ = process.try_wait();
                return Ok(None);
            }
        }
    };
    let mut answer = Vec::new();
    if let Some(stdout) = process.stdout.take() {
        stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    }
    match serde_json::from_slice(&answer) {
        Ok(answer) => Ok(Some(answer)),
        // Its own alarm.
        Err(_) if is_alarm(status) => Ok(None),
        Err(_) => Err(io::Error::other(format!("it said nothing: {status}"))),
    }
}

fn is_alarm(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(libc::SIGALRM)
}
