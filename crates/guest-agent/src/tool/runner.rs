//! Our side of the conversation with the runner. We are its engine.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axo_guest_proto::{Code, Failure};
use axo_runner::{Exited, Fault, PacketError, Reply, Request, receive, send};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::event_loop::register;

/// How long it may take to make a container, or to execute its tool. It gives up itself a little
/// later.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a killed tool may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

/// A runner, and the socket between us. It ends, and its container with it, when this is dropped.
pub(super) struct Runner {
    socket: AsyncFd<OwnedFd>,
    /// Itself, whatever becomes of its pid: whoever reaps it is elsewhere.
    process: OwnedFd,
}

impl Runner {
    #[expect(
        clippy::disallowed_methods,
        reason = "starting the runner is what this is for"
    )]
    pub(super) fn start(program: &Path) -> Result<Self, Failure> {
        let started = || {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            // It reads and writes its end with blocking calls.
            ioctl_fionbio(&ours, true)?;
            let socket = register(ours)?;
            let child = Command::new(program)
                .env_clear()
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            // Nothing reaps it before this, as there is one thread.
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Self { socket, process })
        };
        started().map_err(|e: io::Error| {
            let why = format!("starting {}: {e}", program.display());
            Failure::new(Code::NoContainer, e.raw_os_error(), why)
        })
    }

    pub(super) async fn tell(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Failure> {
        loop {
            match send(self.socket.get_ref(), request, descriptors) {
                Err(PacketError::Io(Errno::AGAIN)) => {
                    let ready = self.socket.writable().await;
                    ready.map_err(|e| broken(&e))?.clear_ready();
                }
                sent => return sent.map_err(|e| not_spoken(&e)),
            }
        }
    }

    /// The next answer. Can be dropped and called again: a packet is read at once or not at all.
    async fn hear(&self) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        loop {
            let mut ready = self.socket.readable().await.map_err(|e| broken(&e))?;
            match receive(self.socket.get_ref()) {
                Ok((Reply::Failed { doing, why, fault }, _)) => {
                    return Err(Failure::new(code(fault), None, format!("{doing}: {why}")));
                }
                Ok(answer) => return Ok(answer),
                Err(PacketError::Io(Errno::AGAIN)) => ready.clear_ready(),
                Err(e) => return Err(not_spoken(&e)),
            }
        }
    }

    /// What it has to do in time. If it does not, it is stuck, and is killed: the kernel ends its
    /// container with it.
    async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout(time, work).await {
            Ok(done) => done,
            Err(_) => {
                let _ = pidfd_send_signal(&self.process, Signal::KILL);
                let why = format!("the runner gave no answer within {} s", time.as_secs());
                Err(Failure::new(Code::NoContainer, None, why))
            }
        }
    }

    pub(super) async fn answer(&self) -> Result<(Reply, Vec<OwnedFd>), Failure> {
        self.within(ANSWER_TIME, self.hear()).await
    }

    /// Waits for the end of the tool, and its output file. Can be dropped and called again.
    pub(super) async fn exited(&self) -> Result<(Exited, Option<File>), Failure> {
        match self.hear().await? {
            (Reply::Exited(exited), files) => {
                Ok((exited, files.into_iter().next().map(File::from)))
            }
            _ => Err(confused()),
        }
    }

    /// Ends the tool, and waits for that.
    pub(super) async fn kill(&self) -> Result<(Exited, Option<File>), Failure> {
        // If it has just ended by itself, this is not heard any more, and the answer is there.
        let _ = self.tell(&Request::Kill, &[]).await;
        self.within(KILL_TIME, self.exited()).await
    }
}

/// It answered what it was not asked.
pub(super) fn confused() -> Failure {
    let why = "the runner answered what it was not asked: this is a bug, please report it";
    Failure::new(Code::NoContainer, None, why)
}

fn code(fault: Fault) -> Code {
    match fault {
        Fault::Host => Code::NoContainer,
        Fault::Program => Code::NotExecutable,
        Fault::Memory => Code::NoMemory,
    }
}

fn not_spoken(e: &PacketError) -> Failure {
    let why = match e {
        PacketError::Closed => {
            "the runner ended before it answered: it was killed, or this is a bug".to_owned()
        }
        PacketError::Malformed(e) => format!("the runner answered what is no answer: {e}"),
        PacketError::Io(e) => return broken(&(*e).into()),
        PacketError::TooLarge { .. } => format!("speaking with the runner: {e}"),
    };
    Failure::new(Code::NoContainer, None, why)
}

fn broken(e: &io::Error) -> Failure {
    let why = format!("speaking with the runner: {e}");
    Failure::new(Code::NoContainer, e.raw_os_error(), why)
}
