//! The process that a machine lives and dies with: the first of its pid namespace. It starts the
//! jailer, reaps, says how that ended, and ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use axo_runner::{API_SOCKET, PrepareMachine, Status, receive, send};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::jail::Jail;
use crate::supervisor::cgroup::Cgroup;
use crate::supervisor::descriptors::{close_all_but, close_in_child, is_closed, pair};
use crate::supervisor::fork::{fork, fork_first};
use crate::supervisor::namespace::unshare;
use crate::supervisor::priority;
use crate::supervisor::process::{FirstProcess, status_of};
use crate::supervisor::resources;
use crate::supervisor::step::{Failed, Step as _};

/// Most open descriptors of Firecracker: one a connection, and a few dozen.
const OPEN_FILES: u32 = 2048;
/// Least size of a file that may be written, in bytes: that of the jailer's `firecracker.pid`.
const LEAST_FILE_BYTES: u64 = 4096;
/// What the shell says where a program cannot be executed.
const CANNOT_EXECUTE: i32 = 126;

/// The guard of a machine that runs.
pub(super) struct Guard {
    process: FirstProcess,
    /// Where it says how the jailer, or Firecracker, ended.
    told: OwnedFd,
}

/// How the jailer ended, or what could not be done, and why.
type Report = Result<Status, (String, String)>;

impl Guard {
    pub(super) fn start(
        prepare: &PrepareMachine,
        jail: &Jail,
        cgroup: &Cgroup,
        console: OwnedFd,
        engine: &OwnedFd,
    ) -> Result<Self, Failed> {
        const DOING: &str = "starting the machine's first process";
        // No network but a loopback interface that is down, and nobody else's System V objects.
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)
            .step("making the machine's namespaces")?;
        rustix::system::sethostname(b"machine").step("naming the machine's host")?;
        let (told, tell) = pair().step(DOING)?;
        let work = || {
            // Nobody but this process's parent holds these ends: that they close says that it is gone.
            close_in_child(engine.as_fd());
            close_in_child(told.as_fd());
            // It does not see its parent, which may have been killed already.
            if is_closed(tell.as_fd()) {
                return 1;
            }
            let report = guard(prepare, jail, cgroup, console, tell.as_fd());
            i32::from(send(&tell, &report, &[]).is_err())
        };
        let unified = cgroup.unified().map(File::as_fd);
        let pid = fork_first(unified, work).step(DOING)?;
        drop(tell);
        Ok(Self {
            process: FirstProcess::new(pid).step(DOING)?,
            told,
        })
    }

    pub(super) fn process(&self) -> &FirstProcess {
        &self.process
    }

    /// How the machine ended. Nothing of it lives after this.
    pub(super) fn reap(self) -> Result<Status, Failed> {
        let Self { process, told } = self;
        let of_guard = process.reap("waiting for the machine's first process")?;
        match receive::<Report>(&told) {
            Ok((Ok(status), _)) => Ok(status),
            Ok((Err((doing, why)), _)) => Err(Failed::new(&doing, why)),
            // It was killed before it could say anything, and with it the machine.
            Err(_) => Ok(of_guard),
        }
    }
}

/// What the first process does.
fn guard(
    prepare: &PrepareMachine,
    jail: &Jail,
    cgroup: &Cgroup,
    console: OwnedFd,
    tell: BorrowedFd<'_>,
) -> Report {
    const DOING: &str = "starting the jailer";
    let started = cgroup
        .enter()
        .step("entering the cgroup")
        .and_then(|()| priority::go_first().step("setting oom_score_adj"))
        .and_then(|()| {
            let jailer = || match execute(prepare, jail, &console) {
                Ok(never) => never,
                Err(error) => {
                    let line = format!("executing the jailer: {error}\n");
                    let _ = rustix::io::write(&console, line.as_bytes());
                    CANNOT_EXECUTE
                }
            };
            fork(jailer).step(DOING)
        });
    let jailer = started.map_err(|failed| (failed.doing, failed.why))?;
    // The console ends with the last process of the machine, and the lock of the cgroup is the runner's
    // alone.
    drop(console);
    close_all_but(Some(tell));
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == jailer => {
                return status_of(status)
                    .ok_or_else(|| (DOING.to_owned(), "it stopped".to_owned()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(("waiting for the machine".to_owned(), e.to_string())),
        }
    }
}

/// Becomes the jailer, which becomes Firecracker.
#[expect(
    clippy::disallowed_methods,
    reason = "executing the jailer is this module's job"
)]
fn execute(prepare: &PrepareMachine, jail: &Jail, console: &OwnedFd) -> io::Result<i32> {
    use std::os::unix::process::CommandExt as _;
    // A core file of Firecracker is the guest's memory.
    resources::limit(OPEN_FILES)?;
    let stream = || console.try_clone().map(Stdio::from);
    let file_bytes = prepare.file_bytes.max(LEAST_FILE_BYTES);
    let error = Command::new(&jail.jailer)
        .env_clear()
        .args(["--id", &prepare.id])
        .arg("--exec-file")
        .arg(&jail.firecracker)
        .args(["--uid", &prepare.uid.to_string()])
        .args(["--gid", &prepare.gid.to_string()])
        .arg("--chroot-base-dir")
        .arg(&jail.base)
        .args(["--resource-limit", &format!("no-file={OPEN_FILES}")])
        .args(["--resource-limit", &format!("fsize={file_bytes}")])
        // What follows is Firecracker's.
        .args(["--", "--api-sock", &format!("/{API_SOCKET}")])
        // It writes its log to the console, every request of ours included.
        .args(["--level", "Warn"])
        .stdin(Stdio::null())
        .stdout(stream()?)
        .stderr(stream()?)
        .exec();
    Err(error)
}
