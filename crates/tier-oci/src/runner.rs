//! Our side of the conversation with a runner: starting one, asking, hearing, and noticing how it
//! ended.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axo_runner::{Exited, Fault, LEFT_SOMETHING, PacketError, Reply, Request, receive, send};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::RwLock;

use crate::host::{CgroupHost, reap_sandbox};

/// How long a runner may take to make a container or to execute its tool. On a loaded host with
/// emulated processors it takes a second.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a killed tool may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

/// How long a runner may take to end once it is not needed any more.
const END_TIME: Duration = Duration::from_secs(120);

/// What is to be done if a runner leaves something of its sandbox.
pub struct LeftBehind {
    /// Removes it. Blocks.
    pub remove: Box<dyn FnOnce() + Send + Sync>,
    /// Read until it is known how the runner ended, and what it left is removed.
    pub endings: Arc<RwLock<()>>,
}

impl LeftBehind {
    /// How long after a first try to remove what a runner left it is tried again: what shared its lock
    /// may have ended a little later.
    const AGAIN: Duration = Duration::from_millis(500);

    /// Removes the cgroup of the sandbox `id`.
    #[must_use]
    pub fn cgroup(cgroups: CgroupHost, id: String, endings: Arc<RwLock<()>>) -> Self {
        let remove = move || {
            if !reap_sandbox(&cgroups, &id) {
                std::thread::sleep(Self::AGAIN);
                reap_sandbox(&cgroups, &id);
            }
        };
        Self {
            remove: Box::new(remove),
            endings,
        }
    }
}

/// Why a runner did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Its program cannot be handed out.
    #[error(transparent)]
    Helper(#[from] axo_helpers::HelperError),
    /// It cannot be started.
    #[error("starting a runner")]
    Start(#[source] io::Error),
    /// The socket to it failed.
    #[error("speaking with a runner")]
    Speak(#[from] PacketError),
    /// It is gone.
    #[error("a runner ended before it answered: it was killed, or this is a bug")]
    Gone,
    /// It has not answered in time, and was killed.
    #[error("a runner gave no answer within {0:?}")]
    Silent(Duration),
    /// It answered something else.
    #[error("a runner answered what it was not asked: this is a bug, please report it")]
    Confused,
    /// It could not do what it was asked.
    #[error("{doing}: {why}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Why it failed.
        why: String,
        /// What is at fault.
        fault: Fault,
    },
    /// The input file that it gave cannot be written.
    #[error("handing over the input")]
    Input(#[source] io::Error),
}

/// A runner, and the socket between us.
pub struct Runner {
    socket: AsyncFd<OwnedFd>,
    /// Taken when this is dropped.
    process: Option<Child>,
    left_behind: Option<LeftBehind>,
}

impl Runner {
    /// Starts one.
    ///
    /// # Errors
    /// [`RunnerError::Helper`] and [`RunnerError::Start`].
    #[expect(
        clippy::disallowed_methods,
        reason = "starting runners is this module's job"
    )]
    pub fn start(left_behind: LeftBehind) -> Result<Self, RunnerError> {
        let program = axo_helpers::runner().path()?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|e| RunnerError::Start(e.into()))?;
        // The runner reads and writes with blocking calls.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(|e| RunnerError::Start(e.into()))?;
        let process = tokio::process::Command::new(program)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(RunnerError::Start)?;
        Ok(Self {
            socket: registered(ours)?,
            process: Some(process),
            left_behind: Some(left_behind),
        })
    }

    /// Asks it something.
    ///
    /// # Errors
    /// [`RunnerError::Gone`] if it is, [`RunnerError::Speak`] and [`RunnerError::Start`].
    pub async fn tell(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RunnerError> {
        loop {
            match send(self.socket.get_ref(), request, descriptors) {
                Ok(()) => return Ok(()),
                Err(PacketError::Io(Errno::AGAIN)) => {
                    let mut ready = self.socket.writable().await.map_err(RunnerError::Start)?;
                    ready.clear_ready();
                }
                Err(PacketError::Closed) => return Err(RunnerError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// What it says next, however long that takes. Can be dropped and called again: a packet is read
    /// at once or not at all.
    ///
    /// # Errors
    /// [`RunnerError::Failed`] if it says so, [`RunnerError::Gone`] if it is.
    pub async fn hear(&self) -> Result<(Reply, Vec<OwnedFd>), RunnerError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(RunnerError::Start)?;
            match receive(self.socket.get_ref()) {
                Ok((Reply::Failed { doing, why, fault }, _)) => {
                    return Err(RunnerError::Failed { doing, why, fault });
                }
                Ok(answer) => return Ok(answer),
                Err(PacketError::Io(Errno::AGAIN)) => ready.clear_ready(),
                Err(PacketError::Closed) => return Err(RunnerError::Gone),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// What a runner has to do in time. One that does not is stuck or was stopped, and is killed: the
    /// kernel ends its sandbox with it.
    async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, RunnerError>>,
    ) -> Result<T, RunnerError> {
        let done = tokio::time::timeout(time, work).await;
        if done.is_err()
            && let Some(pid) = self
                .process
                .as_ref()
                .and_then(Child::id)
                .and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It is not reaped as long as Tokio tells its id, so the id is its.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        done.unwrap_or(Err(RunnerError::Silent(time)))
    }

    /// What it says next, which it has to do in time.
    ///
    /// # Errors
    /// As [`Self::hear`], and [`RunnerError::Silent`].
    pub async fn answer(&self) -> Result<(Reply, Vec<OwnedFd>), RunnerError> {
        self.within(ANSWER_TIME, self.hear()).await
    }

    /// Waits for the end of the tool. Can be dropped and called again.
    pub(crate) async fn exited(&self) -> Result<(Exited, Option<File>), RunnerError> {
        match self.hear().await? {
            (Reply::Exited(exited), files) => {
                Ok((exited, files.into_iter().next().map(File::from)))
            }
            _ => Err(RunnerError::Confused),
        }
    }

    /// Ends the tool, and waits for that.
    pub(crate) async fn kill(&self) -> Result<(Exited, Option<File>), RunnerError> {
        self.end(self.exited()).await
    }

    /// Ends its sandbox, and waits for what `ended` waits for.
    ///
    /// # Errors
    /// As [`Self::tell`] and `ended`, and [`RunnerError::Silent`].
    pub async fn end<T>(
        &self,
        ended: impl Future<Output = Result<T, RunnerError>>,
    ) -> Result<T, RunnerError> {
        match self.tell(&Request::Kill, &[]).await {
            // It has just ended by itself, and the runner with it: the answer is there.
            Ok(()) | Err(RunnerError::Gone) => {}
            Err(e) => return Err(e),
        }
        self.within(KILL_TIME, ended).await
    }

    /// Waits until it has closed its socket, which it does when it has cleared up.
    ///
    /// # Errors
    /// As [`Self::hear`], and [`RunnerError::Silent`].
    pub async fn closed(&self) -> Result<(), RunnerError> {
        match self.within(KILL_TIME, self.hear()).await {
            Err(RunnerError::Gone) => Ok(()),
            Ok(_) => Err(RunnerError::Confused),
            Err(e) => Err(e),
        }
    }

    /// Leaves it and its sandbox to themselves: it has said that it goes on without us.
    pub fn leave(mut self) {
        self.left_behind = None;
        // Tokio reaps it if it ends while we live.
        drop(self.process.take());
    }

    /// Whether it says nothing now, and lives as far as can be told without waiting.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut one = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
        poll(&mut one, Some(&Timespec::default())) == Ok(0)
    }
}

impl Drop for Runner {
    /// It ends by itself, for the socket is closed now. How it has ended is looked at when it has.
    fn drop(&mut self) {
        let (Some(mut process), Some(left_behind)) = (self.process.take(), self.left_behind.take())
        else {
            return;
        };
        // Without a runtime Tokio reaps it some time, and `gc` finds what it may have left.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let under_way = Arc::clone(&left_behind.endings).try_read_owned();
        runtime.spawn(async move {
            let _under_way = under_way;
            match end_of(&mut process, END_TIME).await {
                Ok(status) if has_cleared_up(status) => {}
                Ok(status) => {
                    tracing::warn!(%status, "a runner left something of its sandbox, which is removed now");
                    // It is done, or the runtime is shutting down.
                    let _ = tokio::task::spawn_blocking(left_behind.remove).await;
                }
                Err(error) => tracing::warn!(%error, "how a runner ended is not known"),
            }
        });
    }
}

/// How a runner ended that is not needed any more. One that does not end in time is stuck or was
/// stopped, and is killed: it keeps its sandbox alive.
async fn end_of(runner: &mut Child, time: Duration) -> io::Result<ExitStatus> {
    if let Ok(ended) = tokio::time::timeout(time, runner.wait()).await {
        return ended;
    }
    tracing::warn!("a runner has not ended within {time:?}, and is killed");
    runner.start_kill()?;
    tokio::time::timeout(KILL_TIME, runner.wait()).await?
}

/// Whether a runner that ended like this has left nothing.
fn has_cleared_up(status: ExitStatus) -> bool {
    status
        .code()
        .is_some_and(|code| code != i32::from(LEFT_SOMETHING))
}

#[expect(unsafe_code, reason = "Tokio has no safe way to wait for a descriptor")]
fn registered(socket: OwnedFd) -> Result<AsyncFd<OwnedFd>, RunnerError> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    // SAFETY: an `OwnedFd` always gives the same descriptor, and closes it only when it is dropped,
    // which `AsyncFd` does after it has deregistered it.
    unsafe { AsyncFd::register_with_interest(socket, interest) }
        .map_err(|e| RunnerError::Start(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_runner_that_was_killed_or_says_so_has_left_something() {
        let ended = |raw| has_cleared_up(ExitStatus::from_raw(raw));
        assert!(ended(0), "it succeeded");
        assert!(ended(1 << 8), "it failed, and cleared up");
        assert!(!ended(i32::from(LEFT_SOMETHING) << 8));
        assert!(!ended(9), "it was killed");
    }

    /// Its sandbox would live as long as it does.
    #[tokio::test]
    async fn a_stopped_runner_that_nobody_needs_any_more_is_killed() {
        let mut runner = Runner::start(LeftBehind {
            remove: Box::new(|| ()),
            endings: Arc::default(),
        })
        .unwrap();
        let mut process = runner.process.take().unwrap();
        let number = process.id().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let is_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
            stat.contains(") T ")
        };
        while !is_stopped() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It would end now, if it could.
        drop(runner);
        let ended = end_of(&mut process, Duration::from_millis(500)).await;
        assert_eq!(ended.unwrap().signal(), Some(9));
    }
}
