//! Starting a machine: a jail, Firecracker in it, and what Firecracker is told.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use axo_runner::{API_SOCKET, JailFile, PrepareMachine, Reply, Request};
use axo_tier_oci::supervise::{Runner, RunnerError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::Machine;
use super::config::{Guest, MachineConfig};
use super::connect::{GUEST_CID, VSOCK};
use super::console::Console;
use super::error::MachineError;
use super::jail::JailRoot;
use super::keeper::Keeping;
use super::snapshot::{MEMORY, STATE, SnapshotFiles, SnapshotTarget};
use super::user::MachineUser;
use crate::api::{
    Api, BackendType, BootSource, Drive, MachineSize, MemoryBackend, SnapshotLoad, Vsock,
};

/// Names of files in the jail.
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";

/// How long the jailer may take to become a Firecracker that listens. On an emulated processor it
/// takes a second.
const LISTEN_TIME: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LISTEN_PAUSE: Duration = Duration::from_micros(500);

const STARTING: &str = "starting Firecracker";
/// What a stored machine is at fault for, where it fails.
pub(crate) const RESTORING: &str = "restoring the machine";

/// A file for the jail.
struct Given<'a> {
    name: String,
    file: &'a File,
    writable: bool,
}

impl<'a> Given<'a> {
    fn new(name: &str, file: &'a File) -> Self {
        Self {
            name: name.to_owned(),
            file,
            writable: false,
        }
    }

    fn writable(self) -> Self {
        Self {
            writable: true,
            ..self
        }
    }
}

impl Machine {
    /// A machine whose guest boots. With a `target`, it can be stored there.
    ///
    /// # Errors
    /// [`MachineError`].
    pub async fn boot(
        config: MachineConfig,
        guest: &Guest,
        target: Option<SnapshotTarget>,
    ) -> Result<Self, MachineError> {
        Self::boot_with(config, guest, target, None).await
    }

    /// A machine whose guest boots, and which can be left to its keeper.
    ///
    /// # Errors
    /// [`MachineError`].
    pub async fn boot_kept(
        config: MachineConfig,
        guest: &Guest,
        keeping: Keeping,
    ) -> Result<Self, MachineError> {
        Self::boot_with(config, guest, None, Some(keeping)).await
    }

    async fn boot_with(
        config: MachineConfig,
        guest: &Guest,
        target: Option<SnapshotTarget>,
        keeping: Option<Keeping>,
    ) -> Result<Self, MachineError> {
        const BOOTING: &str = "booting the machine";
        let files = vec![
            Given::new(KERNEL, &guest.kernel),
            Given::new(INITRAMFS, &guest.initramfs),
        ];
        let disks = config.disks.len();
        let machine = Self::start(config, files, target, guest.memory_mib, keeping).await?;
        let api = &machine.api;
        let configured = async {
            api.size(&MachineSize {
                vcpu_count: guest.vcpus,
                mem_size_mib: guest.memory_mib,
                smt: false,
            })
            .await?;
            api.boot_source(&BootSource {
                kernel_image_path: format!("/{KERNEL}"),
                initrd_path: format!("/{INITRAMFS}"),
                boot_args: guest.command_line.clone(),
            })
            .await?;
            for number in 0..disks {
                api.drive(&Drive {
                    drive_id: disk(number),
                    path_on_host: format!("/{}", disk(number)),
                    is_root_device: false,
                    is_read_only: true,
                })
                .await?;
            }
            api.vsock(&Vsock {
                guest_cid: GUEST_CID,
                uds_path: format!("/{VSOCK}"),
            })
            .await?;
            api.start().await
        };
        machine.asking(BOOTING, configured).await?;
        Ok(machine)
    }

    /// A machine that goes on where another was stored, with the same disks.
    ///
    /// # Errors
    /// [`MachineError`].
    pub async fn restore(
        config: MachineConfig,
        snapshot: &SnapshotFiles,
    ) -> Result<Self, MachineError> {
        let files = vec![
            Given::new(MEMORY, &snapshot.memory),
            Given::new(STATE, &snapshot.state),
        ];
        let machine = Self::start(config, files, None, 0, None).await?;
        let load = SnapshotLoad {
            snapshot_path: format!("/{STATE}"),
            mem_backend: MemoryBackend {
                backend_type: BackendType::File,
                backend_path: format!("/{MEMORY}"),
            },
            resume_vm: true,
        };
        let loaded = machine.api.load_snapshot(&load);
        machine.asking(RESTORING, loaded).await?;
        Ok(machine)
    }

    /// Firecracker in its jail, with these files and the disks, which has been told nothing.
    async fn start(
        config: MachineConfig,
        mut given: Vec<Given<'_>>,
        target: Option<SnapshotTarget>,
        memory_mib: u32,
        keeping: Option<Keeping>,
    ) -> Result<Self, MachineError> {
        let of_files = |source| MachineError::Files {
            doing: STARTING,
            source,
        };
        let of_runner = |source| MachineError::Runner {
            doing: STARTING,
            source,
        };
        let user = MachineUser::take().map_err(MachineError::User)?;
        let (console, their_console, to_be_read) = Console::new().map_err(of_files)?;
        let MachineConfig {
            id,
            firecracker,
            jailer,
            disks,
            cgroup,
            left_behind,
        } = config;
        for (number, file) in disks.iter().enumerate() {
            given.push(Given::new(&disk(number), file));
        }
        if let Some(target) = &target {
            target.give_to(&user).map_err(of_files)?;
            given.push(Given::new(MEMORY, &target.memory).writable());
            given.push(Given::new(STATE, &target.state).writable());
        }
        let prepare = PrepareMachine {
            id,
            uid: user.number(),
            gid: user.number(),
            cgroup,
            files: given
                .iter()
                .map(|given| JailFile {
                    name: given.name.clone(),
                    writable: given.writable,
                })
                .collect(),
            file_bytes: match target {
                Some(_) => SnapshotTarget::largest_file(memory_mib),
                None => 0,
            },
            keep: keeping.as_ref().map(Keeping::terms),
        };
        let of_keeper = keeping.iter().flat_map(|keeping| keeping.with(&to_be_read));
        let descriptors: Vec<BorrowedFd<'_>> = [their_console.as_fd(), user.as_fd()]
            .into_iter()
            .chain(of_keeper)
            .chain([firecracker.as_fd(), jailer.as_fd()])
            .chain(given.iter().map(|given| given.file.as_fd()))
            .collect();
        let runner = Runner::start(left_behind).map_err(of_runner)?;
        runner
            .tell(&Request::Machine(Box::new(prepare)), &descriptors)
            .await
            .map_err(of_runner)?;
        // Only the machine writes to its console, so that it ends with it; and its keeper alone listens.
        drop((their_console, to_be_read, keeping));
        let (reply, descriptors) = runner.answer().await.map_err(of_runner)?;
        let (Reply::MachineRuns, Some(root)) = (reply, descriptors.into_iter().next()) else {
            return Err(of_runner(RunnerError::Confused));
        };
        let root = Arc::new(JailRoot::new(root));
        let machine = Self {
            runner,
            api: Api::new(Arc::clone(&root)),
            root,
            console,
            ended: Mutex::new(None),
            user,
            target,
        };
        machine.wait_for_api().await?;
        Ok(machine)
    }

    /// Waits until Firecracker listens.
    async fn wait_for_api(&self) -> Result<(), MachineError> {
        let deadline = Instant::now() + LISTEN_TIME;
        loop {
            if self.root.connect(API_SOCKET).await.is_ok() {
                return Ok(());
            }
            tokio::select! {
                end = self.ended() => return Err(self.ended_while(STARTING, end).await),
                () = sleep(LISTEN_PAUSE) => {}
            }
            if Instant::now() > deadline {
                return Err(MachineError::Silent {
                    doing: STARTING,
                    within: LISTEN_TIME,
                    console: self.console.last_lines(),
                });
            }
        }
    }

    /// Firecracker's version, as it says.
    ///
    /// # Errors
    /// [`MachineError::Api`] and [`MachineError::Ended`].
    pub async fn version(&self) -> Result<String, MachineError> {
        self.asking("asking Firecracker's version", self.api.version())
            .await
    }
}

/// The name of a disk, of its file in the jail and for Firecracker.
fn disk(number: usize) -> String {
    format!("disk{number}")
}
