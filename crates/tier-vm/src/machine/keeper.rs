//! A machine that outlives who had it made. Its runner keeps it, and answers on a socket in a directory
//! of ours for as long as it does.
//!
//! ```text
//! DIRECTORY/keeper.sock    where the keeper listens
//! DIRECTORY/account.json   empty while it keeps the machine; how that ended, afterwards
//! ```

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_runner::{Account, Ask, EndedBy, Keep, PacketError, Told, receive, send};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::connect::{Tried, try_connect};
use super::console::last_lines;
use super::end::{End, How};
use super::jail::JailRoot;

const SOCKET: &str = "keeper.sock";
const ACCOUNT: &str = "account.json";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// How long a keeper may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to end a machine.
const END: Duration = Duration::from_secs(30);
/// How long the guest may take to accept a connection. Emulated processors are slow.
const ACCEPT: Duration = Duration::from_secs(30);
/// How long after a refused connection the next one is tried.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest account, in bytes.
const MAX_ACCOUNT_BYTES: u64 = 64 << 10;

/// What a machine is kept with.
pub struct Keeping {
    listener: OwnedFd,
    account: File,
    total: Duration,
}

/// The keeper of a machine, or where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    directory: PathBuf,
}

/// How a machine ended that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its guest powered off. The end of what it said on its console, which is not to be trusted.
    Itself(String),
    /// Its keeper ended it when its time was over.
    TotalTime,
    /// Somebody asked its keeper to end it.
    Asked,
    /// For another reason.
    Otherwise(String),
}

/// Why a keeper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Nobody keeps the machine: there is none any more.
    #[error("the machine is gone")]
    Gone,
    /// What stands behind the vsock's socket is no Firecracker.
    #[error("the machine's vsock answered what it never does")]
    Lied,
    /// It did not answer in time.
    #[error("the machine's keeper gave no answer within {0:?}")]
    Late(Duration),
    /// Speaking with it failed.
    #[error("speaking with the machine's keeper")]
    Speak(#[source] io::Error),
}

impl Keeping {
    /// In a directory that nobody else can enter, and in which no machine was kept. However the machine
    /// is used, it lives no longer than `total`.
    ///
    /// # Errors
    /// If the socket or the file cannot be made there.
    pub fn in_directory(directory: &Path, total: Duration) -> io::Result<Self> {
        let listener = socket()?;
        // Any path fits into an address this way.
        let opened = open_directory(directory)?;
        bind(&listener, &address(&opened)?)?;
        listen(&listener, BACKLOG)?;
        let account = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.join(ACCOUNT))?;
        Ok(Self {
            listener,
            account,
            total,
        })
    }

    /// What the runner is told.
    pub(super) fn terms(&self) -> Keep {
        Keep {
            // At least one: none would be over at once.
            total_seconds: self.total.as_secs().max(1),
        }
    }

    /// What it is given, in its order.
    pub(super) fn with<'a>(&'a self, console: &'a OwnedFd) -> [BorrowedFd<'a>; 3] {
        [self.listener.as_fd(), self.account.as_fd(), console.as_fd()]
    }
}

impl Keeper {
    /// The one who keeps a machine in this directory.
    #[must_use]
    pub fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A stream to `port` of the guest. A guest that has too much to do refuses one now and then, as
    /// Firecracker does for one that takes two seconds: that is tried again.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn connect(&self, port: u32) -> Result<UnixStream, KeeperError> {
        let tries = async {
            loop {
                // Each time: it tells whether the machine is there at all.
                let root = self.root().await?;
                match try_connect(&root, port).await {
                    Ok(Tried::Connected(stream)) => return Ok(stream),
                    Ok(Tried::Lied) => return Err(KeeperError::Lied),
                    Ok(Tried::NotYet) | Err(_) => sleep(PAUSE).await,
                }
            }
        };
        let connected = timeout(ACCEPT, tries).await;
        connected.unwrap_or(Err(KeeperError::Late(ACCEPT)))
    }

    /// Whether the machine lives.
    ///
    /// # Errors
    /// [`KeeperError`], but not that it is gone.
    pub async fn keeps(&self) -> Result<bool, KeeperError> {
        match self.root().await {
            Ok(_) => Ok(true),
            Err(KeeperError::Gone) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the machine, and waits until nothing of it is left. One that is gone has ended.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn end(&self) -> Result<(), KeeperError> {
        match self.ask(Ask::End, END).await {
            // It closes when it is done, if it had too much to do to say so.
            Ok(_) | Err(KeeperError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How a machine ended that is gone.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let account = match self.account() {
            Ok(Some(account)) => account,
            Ok(None) => {
                let why = "its keeper was killed, or the host was restarted";
                return Ending::Otherwise(why.to_owned());
            }
            Err(error) => {
                return Ending::Otherwise(format!("its keeper\'s account cannot be read: {error}"));
            }
        };
        let how = account.ended.map(|ended| End::of_machine(ended, true).how);
        match (account.by, how, account.failed) {
            (EndedBy::Asked, _, _) => Ending::Asked,
            (EndedBy::TotalTime, _, _) => Ending::TotalTime,
            (EndedBy::Itself, Some(How::PoweredOff), _) => {
                Ending::Itself(last_lines(account.last.as_bytes()))
            }
            (_, Some(how), _) => Ending::Otherwise(how.to_string()),
            (_, None, Some(failed)) => Ending::Otherwise(failed),
            (_, None, None) => Ending::Otherwise("for an unknown reason".to_owned()),
        }
    }

    /// What its keeper says. One that was killed says nothing.
    fn account(&self) -> io::Result<Option<Account>> {
        let file = match File::open(self.directory.join(ACCOUNT)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(MAX_ACCOUNT_BYTES).read_to_end(&mut text)?;
        match text.is_empty() {
            true => Ok(None),
            false => Ok(Some(serde_json::from_slice(&text)?)),
        }
    }

    async fn root(&self) -> Result<JailRoot, KeeperError> {
        match self.ask(Ask::Root, ANSWER).await? {
            Some(root) => Ok(JailRoot::new(root)),
            None => Err(KeeperError::Speak(io::ErrorKind::InvalidData.into())),
        }
    }

    /// One question. The keeper is ours, and each step has a time.
    async fn ask(&self, ask: Ask, within: Duration) -> Result<Option<OwnedFd>, KeeperError> {
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || answer(&directory, ask, within))
            .await
            .unwrap_or_else(|error| Err(KeeperError::Speak(io::Error::other(error))))
    }
}

fn answer(directory: &Path, ask: Ask, within: Duration) -> Result<Option<OwnedFd>, KeeperError> {
    let spoken = |errno: Errno| match errno {
        // Nobody has it open, or it is not there any more.
        Errno::CONNREFUSED | Errno::NOENT | Errno::PIPE | Errno::CONNRESET => KeeperError::Gone,
        Errno::AGAIN => KeeperError::Late(within),
        errno => KeeperError::Speak(errno.into()),
    };
    let packet = |error| match error {
        PacketError::Closed => KeeperError::Gone,
        PacketError::Io(errno) => spoken(errno),
        error => KeeperError::Speak(io::Error::other(error)),
    };
    let to_errno = |error: io::Error| match Errno::from_io_error(&error) {
        Some(errno) => spoken(errno),
        None => KeeperError::Speak(error),
    };
    let opened = open_directory(directory).map_err(to_errno)?;
    let stream = socket().map_err(to_errno)?;
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&stream, which, Some(within)).map_err(spoken)?;
    }
    connect(&stream, &address(&opened).map_err(spoken)?).map_err(spoken)?;
    send(&stream, &ask, &[]).map_err(packet)?;
    let (told, descriptors) = receive::<Told>(&stream).map_err(packet)?;
    match (ask, told) {
        (Ask::Root, Told::Root) | (Ask::End, Told::Ended) => Ok(descriptors.into_iter().next()),
        _ => Err(KeeperError::Speak(io::ErrorKind::InvalidData.into())),
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn address(directory: &OwnedFd) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}
