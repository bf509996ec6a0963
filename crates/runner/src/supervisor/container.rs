//! The container, through libcontainer.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use axo_runner::{Cgroup, Launch, PacketError, Prepare, Status, receive, send};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceBuilder, LinuxNamespaceType, Spec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};

use super::launch::Launcher;
use super::stage::Staged;
use super::step::{Failed, Step as _};
use super::user_namespace::{Entered, path_of};

/// A container in the OCI state `created`: its first process waits.
pub(crate) struct Container {
    container: std::cell::RefCell<libcontainer::container::Container>,
    pid: Pid,
    pidfd: OwnedFd,
    /// The other end is with the container's first process, until that executes the tool.
    launcher: OwnedFd,
    reaped: std::cell::Cell<bool>,
}

impl Container {
    pub(crate) fn create(
        prepare: &Prepare,
        staged: &Staged,
        users: &Entered,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Self, Failed> {
        const DOING: &str = "creating the container";
        let spec = with_user_namespace(&prepare.config, users)?;
        spec.save(staged.stage.bundle().join("config.json"))
            .step("writing config.json")?;
        let (launcher, inside) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .step(DOING)?;
        let executor = Launcher::new(inside.as_raw_fd(), &prepare.seccomp, prepare.files);
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
                    .build()
            })
            .step(DOING)?;
        drop(inside);
        let pid = container
            .pid()
            .and_then(|pid| Pid::from_raw(pid.as_raw()))
            .ok_or_else(|| Failed::new(DOING, "it has no process"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).step(DOING)?;
        Ok(Self {
            container: container.into(),
            pid,
            pidfd,
            launcher,
            reaped: false.into(),
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the waiting process execute the tool.
    pub(crate) fn start(&self, launch: &Launch) -> Result<Running<'_>, Failed> {
        send(&self.launcher, launch, &[]).step("handing over the command")?;
        self.container
            .borrow_mut()
            .start()
            .step("starting the container")?;
        // The first process closes its end by executing the tool; else it says why it cannot.
        match receive::<String>(&self.launcher) {
            Err(PacketError::Closed) => Ok(Running(self)),
            Ok((why, _)) => Err(Failed::new("executing the tool", why).of_tool()),
            Err(e) => Err(e).step("executing the tool"),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.reaped.get() {
            // With the first process of a pid namespace the kernel kills all others.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

/// A container whose tool runs.
pub(crate) struct Running<'a>(&'a Container);

impl Running<'_> {
    /// Becomes readable when the tool has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    pub(crate) fn kill(&self) {
        // It fails where the tool has ended, which is what is wanted.
        let _ = pidfd_send_signal(&self.0.pidfd, Signal::KILL);
    }

    /// How it ended. Once the first process is reaped, nothing of its pid namespace lives.
    pub(crate) fn reap(&self) -> Result<Status, Failed> {
        const DOING: &str = "reading the tool's exit status";
        let ended = waitpid(Some(self.0.pid), WaitOptions::empty()).step(DOING)?;
        self.0.reaped.set(true);
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
