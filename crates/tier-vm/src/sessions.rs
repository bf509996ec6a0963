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
use axo_guest_proto::machine::CGROUPS;
use axo_guest_proto::{PrepareSession, Request};
use axo_tier_oci::CgroupDriver;
pub use axo_tier_oci::ContainedSession;
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, PREFIX, Unavailable};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::begin::made_ready;
use crate::disk::DiskError;
use crate::failed::Failed;
use crate::host::Host;
use crate::machine::{Keeper, KeeperError, Keeping, Machine, MachineError};
use crate::sizes::MachineSize;
use crate::{disk, initramfs};

/// Where the agent of a session listens, on its guest's vsock.
pub const PORT: u32 = PrepareSession::PORT;

/// The container inside a machine: there is one.
const CONTAINER: &str = "axocoatl-session";

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
    /// Its image is no disk.
    #[error("making a disk of the session's image")]
    Disk(#[source] DiskError),
    /// Its machine did not do it.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest did not make the session. What the console says is not to be trusted.
    #[error(
        "making the session in its machine, whose console ends with: {console:?}; see `axocoatl doctor`"
    )]
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
            host: Host::examine(installed).map_err(Failed::Host)?,
            data: data.to_owned(),
        })
    }

    /// Starts the machine of a session, whose agent listens when this returns, and leaves it to its
    /// keeper. Dropped or failed before that, the machine is gone.
    ///
    /// # Errors
    /// [`SessionMachineError`].
    pub async fn start(&self, wanted: &SessionMachine<'_>) -> Result<(), SessionMachineError> {
        Ok(self.started(wanted).await?.leave().await?)
    }

    async fn started(&self, wanted: &SessionMachine<'_>) -> Result<Machine, Failed> {
        let session = &wanted.session;
        let size = MachineSize::of(session.limits)?;
        let prepare = session.prepare(CONTAINER, Path::new(CGROUPS));
        let request = Request::PrepareSession(PrepareSession {
            prepare: serde_json::to_vec(&prepare.map_err(Failed::ours)?).map_err(Failed::ours)?,
            launch: serde_json::to_vec(&session.launch()).map_err(Failed::ours)?,
        });
        let (root, initramfs) = self.disks(wanted).await?;
        let limits = size.on_the_host(session.limits, false);
        let config = self.host.config(name(wanted.id), &[root], &limits)?;
        let guest = self.host.guest(size, &initramfs)?;
        let keeping = Keeping::in_directory(wanted.directory, wanted.total)
            .map_err(Failed::files("making a place for the machine's keeper"))?;
        made_ready(Machine::boot_kept(config, &guest, keeping).await?, &request).await
    }

    /// The root file system as a disk, and what the guest boots from.
    async fn disks(&self, wanted: &SessionMachine<'_>) -> Result<(File, File), Failed> {
        let (data, artifacts) = (self.data.clone(), self.host.artifacts.clone());
        let (root, digest) = (wanted.root.to_owned(), wanted.digest.to_owned());
        tokio::task::spawn_blocking(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let tree = openat(CWD, &root, flags, Mode::empty())
                .map_err(Failed::files("opening the session's image"))?;
            let disk = disk::disk_of(&data, &digest, tree.as_fd())?;
            let initramfs = initramfs::initramfs(&data, &artifacts)
                .map_err(Failed::files("making the guest's initramfs"))?;
            Ok((disk, initramfs.file))
        })
        .await
        .map_err(Failed::files("making the machine's disks"))?
    }
}

impl From<Failed> for SessionMachineError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Host(Unavailable { reason, fix }) => Self::Unavailable { reason, fix },
            Failed::Size(needs) => Self::Limit(needs.to_string()),
            Failed::Machine(error) => Self::Machine(error),
            Failed::Disk(error) => Self::Disk(error),
            Failed::Agent { source, console } => Self::Guest {
                source: source.into(),
                console,
            },
            Failed::Files { doing, source } => Self::Files { doing, source },
            other => Self::Files {
                doing: "starting the session's machine",
                source: other.into(),
            },
        }
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

/// Whether the end of a machine's console says that its session ended as it should. It is the guest's
/// word about itself.
#[must_use]
pub fn ended_well(last: &str) -> bool {
    last.lines()
        .any(|line| line.trim().ends_with(PrepareSession::ENDED))
}

/// The machine of a session.
fn name(id: &str) -> String {
    format!("{PREFIX}vm-ses-{id}")
}
