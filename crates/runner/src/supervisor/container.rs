//! The container, through libcontainer.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use axo_runner::{Cgroup, Fault, Launch, PacketError, Prepare, Status, receive, send};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceBuilder, LinuxNamespaceType, Spec};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::cgroup::Cgroup as SandboxCgroup;
use super::descriptors::{close_in_child, pair};
use super::fork::{fork, fork_into};
use super::launch::Launcher;
use super::priority;
use super::process::FirstProcess;
use super::stage::Staged;
use super::step::{Failed, Step as _};
use super::user_namespace::{Entered, path_of};

/// A container in the OCI state `created`: its first process waits.
pub(crate) struct Created {
    /// Libcontainer's state of it.
    directory: PathBuf,
    process: FirstProcess,
    /// The other end is with the container's first process, until that executes the tool.
    launcher: OwnedFd,
}

/// What the tool is handed, beside its files.
pub(crate) struct Streams {
    /// Standard output and error.
    pub(crate) output: [OwnedFd; 2],
    /// A socket that it is to listen on.
    pub(crate) listener: Option<OwnedFd>,
}

/// A container whose tool runs.
pub(crate) struct Running(FirstProcess);

impl Created {
    /// Makes the container in a child process, which is in the sandbox's cgroup, so that everything
    /// made there is. The container's first process is a child of this one all the same.
    pub(crate) fn create(
        prepare: &Prepare,
        staged: &Staged,
        users: &Entered,
        cgroup: &SandboxCgroup,
        streams: Streams,
        engine: &OwnedFd,
    ) -> Result<Self, Failed> {
        const DOING: &str = "creating the container";
        let spec = with_user_namespace(&prepare.config, users)?;
        spec.save(staged.stage.bundle().join("config.json"))
            .step("writing config.json")?;
        let (launcher, inside) = pair().step(DOING)?;
        let (told, tell) = pair().step(DOING)?;
        let Streams { output, listener } = streams;
        let executor = Launcher::new(
            inside.as_raw_fd(),
            listener.as_ref().map(|listener| listener.as_raw_fd()),
            &prepare.seccomp,
            prepare.files,
        );
        let maker = || {
            // Nobody but this process's parent holds these ends: that they close says that it is gone.
            for end in [engine.as_fd(), launcher.as_fd(), told.as_fd()] {
                close_in_child(end);
            }
            let made = cgroup
                .enter()
                .step("entering the cgroup")
                .and_then(|()| priority::go_first().step("setting oom_score_adj"))
                .and_then(|()| {
                    // The lock is the runner's alone.
                    cgroup.descriptors().for_each(close_in_child);
                    build(prepare, staged, executor, output)
                });
            let made = made.map_err(|failed| (failed.doing, failed.why));
            i32::from(send(&tell, &made, &[]).is_err())
        };
        let maker = match cgroup.unified() {
            Some(directory) => fork_into(directory.as_fd(), maker),
            None => fork(maker),
        }
        .step(DOING)?;
        // The container's alone from now on.
        drop((tell, inside, listener));
        let made = receive::<Result<i32, (String, String)>>(&told);
        // The limits are tight where not even this has room.
        let starved = |failed: Failed| match cgroup.usage().out_of_memory {
            true => {
                let why = "there is less memory than a container takes to be made";
                Failed::new(DOING, why).by(Fault::Memory)
            }
            false => failed,
        };
        let _ = waitpid(Some(maker), WaitOptions::empty());
        // Libcontainer's intermediate process is a child of this one, too, and has ended.
        while waitpid(None, WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {}
        let pid = match made {
            Ok((Ok(pid), _)) => Pid::from_raw(pid),
            Ok((Err((doing, why)), _)) => return Err(starved(Failed::new(&doing, why))),
            Err(e) => return Err(e).step(DOING).map_err(starved),
        };
        let pid = pid.ok_or_else(|| Failed::new(DOING, "it has no process"))?;
        Ok(Self {
            directory: staged.stage.state().join(&prepare.id),
            process: FirstProcess::new(pid).step(DOING)?,
            launcher,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The container's mount namespace. An ordinary user may not look at it.
    pub(crate) fn mounts(&self) -> Option<File> {
        File::open(format!("/proc/{}/ns/mnt", self.pid().as_raw_nonzero())).ok()
    }

    /// Lets the waiting process execute the tool.
    pub(crate) fn start(self, launch: &Launch) -> Result<Running, Failed> {
        send(&self.launcher, launch, &[]).step("handing over the command")?;
        libcontainer::container::Container::load(self.directory)
            .and_then(|mut container| container.start())
            .step("starting the container")?;
        // The first process closes its end by executing the tool; else it says why it cannot.
        match receive::<String>(&self.launcher) {
            Err(PacketError::Closed) => Ok(Running(self.process)),
            Ok((why, _)) => Err(Failed::new("executing the tool", why).by(Fault::Program)),
            Err(e) => Err(e).step("executing the tool"),
        }
    }
}

impl Running {
    pub(crate) fn process(&self) -> &FirstProcess {
        &self.0
    }

    /// How it ended.
    pub(crate) fn reap(self) -> Result<Status, Failed> {
        self.0.reap("reading the tool's exit status")
    }
}

/// Lets libcontainer make it, and answers its first process.
fn build(
    prepare: &Prepare,
    staged: &Staged,
    executor: Launcher,
    [stdout, stderr]: [OwnedFd; 2],
) -> Result<i32, Failed> {
    const DOING: &str = "creating the container";
    let container = ContainerBuilder::new(prepare.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .with_root_path(staged.stage.state())
        .and_then(ContainerBuilder::validate_id)
        .and_then(|builder| {
            builder
                .as_init(staged.stage.bundle())
                .with_systemd(matches!(prepare.cgroup, Cgroup::Systemd { .. }))
                .with_detach(true)
                .as_sibling(true)
                .build()
        })
        .step(DOING)?;
    let pid = container.pid().map(|pid| pid.as_raw());
    pid.ok_or_else(|| Failed::new(DOING, "it has no process"))
}

/// The engine's configuration, joined to the user namespace that was made for it.
fn with_user_namespace(config: &str, users: &Entered) -> Result<Spec, Failed> {
    const DOING: &str = "reading config.json";
    let mut spec: Spec = serde_json::from_str(config).step(DOING)?;
    let namespace = LinuxNamespaceBuilder::default()
        .typ(LinuxNamespaceType::User)
        .path(PathBuf::from(path_of(&users.inner)))
        .build()
        .step(DOING)?;
    let mut linux = spec
        .linux()
        .clone()
        .ok_or_else(|| Failed::new(DOING, "it has no section linux"))?;
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    namespaces.push(namespace);
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
    Ok(spec)
}
