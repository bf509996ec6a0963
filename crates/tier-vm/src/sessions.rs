//! Machines of sessions: each boots an image, has one container in it whose program is the guest agent,
//! and is left to its keeper.
//!
//! ```text
//! SessionMachine ──start──▶ boots ──PrepareSession──▶ its agent listens ──▶ kept, without us
//!                                                                             │
//!                                      Keeper::connect(PORT) ◀────────────────┘
//! ```

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axo_core::BoxError;
use axo_guest_proto::{PrepareSession, Request};
use axo_tier_oci::CgroupDriver;
pub use axo_tier_oci::ContainedSession;
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, PREFIX};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::agent::{AGENT_PORT, Operation};
use crate::begin::COMMAND_LINE;
use crate::host::Host;
use crate::machine::{Guest, Keeper, KeeperError, Keeping, Machine, MachineConfig, MachineError};
use crate::sizes::MachineSize;
use crate::wanted::GUEST_CGROUPS;
use crate::{disk, initramfs};

/// Where the agent of a session listens, on its guest's vsock.
pub const PORT: u32 = PrepareSession::PORT;

/// The container inside a machine: there is one.
const CONTAINER: &str = "axocoatl-session";
/// How long a guest may take to boot, up to its agent, and its agent to make the container: half a
/// minute each on an emulated processor.
const BOOT: Duration = Duration::from_secs(120);

/// What machines of sessions are made with.
pub struct SessionMachines {
    host: Host,
    data: PathBuf,
}

/// A session in a machine of its own.
pub struct SessionMachine<'a> {
    /// What tells it from others: letters, digits and `-`, at most 40 of them.
    pub id: &'a str,
    /// Its root file system, which never changes, and the digest of the image that it is of.
    pub root: &'a Path,
    /// `[sha256:]` and 64 hexadecimal digits.
    pub digest: &'a str,
    /// Its container.
    pub session: ContainedSession<'a>,
    /// Where its keeper listens: a directory that nobody else can enter.
    pub directory: &'a Path,
    /// How long it lives at most.
    pub total: Duration,
}

/// Why a session has no machine.
#[derive(Debug, thiserror::Error)]
pub enum SessionMachineError {
    /// This host cannot.
    #[error("tier microvm does not work here: {reason}; {fix}")]
    Unavailable {
        /// Why.
        reason: String,
        /// What would help.
        fix: String,
    },
    /// Its limits are beyond every machine.
    #[error("the session needs {0}; lower this limit")]
    Limit(String),
    /// What it is made of could not be made ready.
    #[error("{doing}")]
    Files {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: BoxError,
    },
    /// Its machine did not do it.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest did not make the session. What the console says is not to be trusted.
    #[error("making the session in its machine, whose console ends with: {console:?}")]
    Guest {
        /// Why.
        source: BoxError,
        /// Its last lines.
        console: String,
    },
}

impl std::fmt::Debug for SessionMachines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionMachines").finish_non_exhaustive()
    }
}

impl SessionMachines {
    /// Looks whether this host has what a machine takes: what is installed beneath `installed`, and a KVM
    /// that runs guests. What is made of images is beneath `data`. Blocks, for ten seconds at most.
    ///
    /// # Errors
    /// [`SessionMachineError::Unavailable`].
    pub fn examine(installed: &Path, data: &Path) -> Result<Self, SessionMachineError> {
        Ok(Self {
            host: Host::examine(installed).map_err(unavailable)?,
            data: data.to_owned(),
        })
    }

    /// Starts the machine of a session, whose agent listens when this returns, and leaves it to its
    /// keeper. Dropped or failed before that, the machine is gone.
    ///
    /// # Errors
    /// [`SessionMachineError`].
    pub async fn start(&self, wanted: &SessionMachine<'_>) -> Result<(), SessionMachineError> {
        let session = &wanted.session;
        let size = MachineSize::of(session.limits)
            .map_err(|error| SessionMachineError::Limit(error.to_string()))?;
        let request = Request::PrepareSession(PrepareSession {
            prepare: session
                .prepare(CONTAINER, Path::new(GUEST_CGROUPS))
                .and_then(|prepare| Ok(serde_json::to_vec(&prepare)?))
                .map_err(files("describing the session's container"))?,
            launch: serde_json::to_vec(&session.launch())
                .map_err(files("describing the session's agent"))?,
        });
        let (root, initramfs) = self.disks(wanted).await?;
        self.host.cgroups.enable().map_err(unavailable)?;
        let open =
            |path: &Path| File::open(path).map_err(files("opening what the machine is made of"));
        let artifacts = &self.host.artifacts;
        let (id, cgroups) = (name(wanted.id), &self.host.cgroups);
        let config = MachineConfig {
            firecracker: open(&artifacts.firecracker)?,
            jailer: open(&artifacts.jailer)?,
            disks: vec![root],
            cgroup: cgroups.of_machine(&id, &size.on_the_host(session.limits, false)),
            left_behind: LeftBehind::cgroup(cgroups.clone(), id.clone(), Arc::default()),
            id,
        };
        let guest = Guest {
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
            kernel: open(&artifacts.kernel)?,
            initramfs,
            command_line: COMMAND_LINE.to_owned(),
        };
        let keeping = Keeping::in_directory(wanted.directory, wanted.total)
            .map_err(files("making a place for the machine's keeper"))?;
        let machine = Machine::boot_kept(config, &guest, keeping).await?;
        let stream = machine.connect(AGENT_PORT, BOOT).await?;
        if let Err(error) = Operation::done(stream, &request, BOOT).await {
            let console = machine.last_lines();
            let _ = machine.end().await;
            return Err(SessionMachineError::Guest {
                source: error.into(),
                console,
            });
        }
        Ok(machine.leave().await?)
    }

    /// The root file system as a disk, and what the guest boots from.
    async fn disks(
        &self,
        wanted: &SessionMachine<'_>,
    ) -> Result<(File, File), SessionMachineError> {
        const DOING: &str = "making the disk of the session's image";
        let (data, artifacts) = (self.data.clone(), self.host.artifacts.clone());
        let (root, digest) = (wanted.root.to_owned(), wanted.digest.to_owned());
        let made = tokio::task::spawn_blocking(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let tree = openat(CWD, &root, flags, Mode::empty()).map_err(files(DOING))?;
            let disk = disk::disk_of(&data, &digest, tree.as_fd()).map_err(files(DOING))?;
            let initramfs = initramfs::initramfs(&data, &artifacts)
                .map_err(files("making the guest's initramfs"))?;
            Ok((disk, initramfs.file))
        });
        made.await.unwrap_or_else(|error| Err(files(DOING)(error)))
    }
}

/// Ends the machine of a session whose keeper is, or was, in `directory`, and removes what a keeper
/// that was killed has left. One that is gone has ended.
///
/// # Errors
/// If its keeper does not end it.
pub async fn end(id: &str, directory: &Path) -> Result<(), KeeperError> {
    Keeper::in_directory(directory.to_owned()).end().await?;
    let id = name(id);
    let reaping = tokio::task::spawn_blocking(move || {
        // Where there are no cgroups of ours, there is none to remove.
        if let Ok(cgroups) = CgroupHost::examine(CgroupDriver::Direct) {
            (LeftBehind::cgroup(cgroups, id, Arc::default()).remove)();
        }
    });
    // What is left, if it could not be, is what `gc` is for.
    let _ = reaping.await;
    Ok(())
}

/// The machine of a session.
fn name(id: &str) -> String {
    format!("{PREFIX}vm-ses-{id}")
}

fn unavailable(unavailable: axo_tier_oci::supervise::Unavailable) -> SessionMachineError {
    SessionMachineError::Unavailable {
        reason: unavailable.reason,
        fix: unavailable.fix,
    }
}

fn files<E: Into<BoxError>>(doing: &'static str) -> impl FnOnce(E) -> SessionMachineError {
    move |source| SessionMachineError::Files {
        doing,
        source: source.into(),
    }
}
