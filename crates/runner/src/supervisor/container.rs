//! The container, through libcontainer.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use axo_runner::{Cgroup, Fault, Launch, PacketError, Prepare, Status, receive, send};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceBuilder, LinuxNamespaceType, Spec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};

use super::cgroup::Cgroup as SandboxCgroup;
use super::fork::{fork, fork_into};
use super::launch::Launcher;
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

/// A container whose tool runs.
pub(crate) struct Running(FirstProcess);

/// The first process of a container, and with it every other. Dropped before it is reaped, it ends.
struct FirstProcess {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Created {
    /// Makes the container in a child process, which is in the sandbox's cgroup, so that everything
    /// made there is. The container's first process is a child of this one all the same.
    pub(crate) fn create(
        prepare: &Prepare,
        staged: &Staged,
        users: &Entered,
        cgroup: &SandboxCgroup,
        streams: [OwnedFd; 2],
        engine: &OwnedFd,
    ) -> Result<Self, Failed> {
        const DOING: &str = "creating the container";
        let spec = with_user_namespace(&prepare.config, users)?;
        spec.save(staged.stage.bundle().join("config.json"))
            .step("writing config.json")?;
        let (launcher, inside) = pair().step(DOING)?;
        let (told, tell) = pair().step(DOING)?;
        let executor = Launcher::new(inside.as_raw_fd(), &prepare.seccomp, prepare.files);
        let maker = || {
            // Nobody but this process's parent holds these ends: that they close says that it is gone.
            for end in [engine.as_fd(), launcher.as_fd(), told.as_fd()] {
                close_in_child(end);
            }
            let made = cgroup
                .enter()
                .step("entering the cgroup")
                .and_then(|()| be_the_first_to_go().step("setting oom_score_adj"))
                .and_then(|()| {
                    // The lock is the runner's alone.
                    cgroup.descriptors().for_each(close_in_child);
                    build(prepare, staged, executor, streams)
                });
            let made = made.map_err(|failed| (failed.doing, failed.why));
            i32::from(send(&tell, &made, &[]).is_err())
        };
        let maker = match cgroup.unified() {
            Some(directory) => fork_into(directory.as_fd(), maker),
            None => fork(maker),
        }
        .step(DOING)?;
        drop((tell, inside));
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
            process: FirstProcess {
                pid,
                pidfd: pidfd_open(pid, PidfdFlags::empty()).step(DOING)?,
                reaped: false,
            },
            launcher,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid
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

impl Drop for FirstProcess {
    fn drop(&mut self) {
        if !self.reaped {
            // With the first process of a pid namespace the kernel kills all others.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

impl Running {
    /// Becomes readable when the tool has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    pub(crate) fn kill(&self) {
        // It fails where the tool has ended, which is what is wanted.
        let _ = pidfd_send_signal(&self.0.pidfd, Signal::KILL);
    }

    /// How it ended. Once the first process is reaped, nothing of its pid namespace lives.
    pub(crate) fn reap(mut self) -> Result<Status, Failed> {
        const DOING: &str = "reading the tool's exit status";
        let ended = waitpid(Some(self.0.pid), WaitOptions::empty()).step(DOING)?;
        self.0.reaped = true;
        let Some((_, status)) = ended else {
            return Err(Failed::new(DOING, "it has none"));
        };
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Status::Exited(code)),
            (None, Some(signal)) => Ok(Status::Signaled(signal)),
            (None, None) => Err(Failed::new(DOING, "it neither exited nor was killed")),
        }
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

/// Where memory of the whole host runs out, a sandbox goes before anything of the host's, whatever
/// the engine's own standing is. An engine that goes earlier still takes its sandboxes along.
fn be_the_first_to_go() -> std::io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    const EARLY: i32 = 500;
    let of_engine = std::fs::read_to_string(FILE)?.trim().parse();
    match of_engine {
        Ok(EARLY..) => Ok(()),
        _ => std::fs::write(FILE, EARLY.to_string()),
    }
}

/// Closes a child's copy of what its parent owns.
#[expect(
    unsafe_code,
    reason = "the value stays with the parent, whose copy is another"
)]
fn close_in_child(end: BorrowedFd<'_>) {
    // SAFETY: the child exits without dropping what it has of its parent's, and uses it no more.
    unsafe { libc::close(end.as_raw_fd()) };
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
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
