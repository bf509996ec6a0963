//! One connection: one operation.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_guest_proto::{
    GENERATION, HEADER_BYTES, Header, Hello, Kind, Message, Reply, Request, encode,
};
use axo_tier_vm::machine::{Keeper, KeeperError};
use axo_tier_vm::sessions;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::AgentError;
use crate::podman::{Ended, Held};
use crate::transport::Crossing;

/// How long the agent may take to answer, and for each frame it has begun.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long a bridge that carries nothing more may take to say why.
const WHY: Duration = Duration::from_secs(2);
/// The status of a bridge that reaches nobody. Every other is podman's.
const NOBODY: i32 = 1;

/// Where an agent listens.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// On a socket in this directory of ours, by this name.
    Socket {
        /// Nobody else can enter it.
        directory: PathBuf,
        /// One component.
        name: &'static str,
    },
    /// In the session, where podman makes a bridge for each connection.
    Bridge(Crossing),
    /// In a machine, on its vsock, which its keeper leads to.
    Machine(Keeper),
}

/// A connection whose request was sent.
pub(super) struct Connection {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    version: String,
}

/// What the agent says.
pub(super) struct Receiver {
    stream: Box<dyn AsyncRead + Send + Sync + Unpin>,
    bridge: Option<Held>,
    /// The frame that is being read: its header, and how much of that is there.
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Its payload, once the header is there, and how much of that is.
    payload: Vec<u8>,
    payload_filled: usize,
}

/// What is said to the agent.
pub(super) struct Sender {
    stream: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// It lives as long as one of its ends is used.
    _bridge: Option<Held>,
}

impl Endpoint {
    /// Sends `request` over a new connection, and hears the agent's hello.
    pub(super) async fn ask(&self, request: &Request) -> Result<Connection, AgentError> {
        let mut connection = self.send(request).await?;
        connection.version = connection.receiver.hello().await?;
        Ok(connection)
    }

    /// Sends `request` over a new connection, whose hello is still to be heard: the agent sends it
    /// with its first reply, and replies to some requests only after their input.
    pub(super) async fn send(&self, request: &Request) -> Result<Connection, AgentError> {
        let mut connection = self.connect().await?;
        // Before anything is said: what cannot be asked is our fault and not the agent's.
        let mut opening = Hello::new(env!("CARGO_PKG_VERSION"))
            .to_frame()
            .map_err(AgentError::Request)?;
        opening.extend(request.to_frame().map_err(AgentError::Request)?);
        match within(ANSWER, connection.sender.write(&opening)).await {
            Ok(()) => Ok(connection),
            Err(error) => Err(connection.receiver.why(error).await),
        }
    }

    async fn connect(&self) -> Result<Connection, AgentError> {
        match self {
            Self::Socket { directory, name } => {
                let (read, write) = connect(directory, name).await?.into_split();
                Ok(Connection::over(read, write, None))
            }
            Self::Machine(keeper) => {
                let stream = within(ANSWER, async {
                    let connected = keeper.connect(sessions::PORT).await;
                    connected.map_err(|error| match error {
                        KeeperError::Late(limit) => AgentError::Late(limit),
                        error => AgentError::Unreachable(io::Error::other(error)),
                    })
                });
                let (read, write) = stream.await?.into_split();
                Ok(Connection::over(read, write, None))
            }
            Self::Bridge(crossing) => {
                let bridge = within(ANSWER, crossing.bridge()).await?;
                Ok(Connection::over(
                    bridge.stdout,
                    bridge.stdin,
                    Some(bridge.held),
                ))
            }
        }
    }
}

async fn connect(directory: &Path, name: &str) -> Result<UnixStream, AgentError> {
    // The address of a socket holds 107 bytes; through the open directory any path fits.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags, Mode::empty())
        .map_err(|e| AgentError::Unreachable(e.into()))?;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    timeout(ANSWER, UnixStream::connect(path))
        .await
        .map_err(|_| AgentError::Late(ANSWER))?
        .map_err(AgentError::Unreachable)
}

impl Connection {
    fn over(
        read: impl AsyncRead + Send + Sync + Unpin + 'static,
        write: impl AsyncWrite + Send + Sync + Unpin + 'static,
        bridge: Option<Held>,
    ) -> Self {
        Self {
            receiver: Receiver {
                stream: Box::new(read),
                bridge: bridge.clone(),
                header: [0; HEADER_BYTES],
                header_filled: 0,
                payload: Vec::new(),
                payload_filled: 0,
            },
            sender: Sender {
                stream: Box::new(write),
                _bridge: bridge,
            },
            version: String::new(),
        }
    }

    /// The agent's version, for people.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The next reply, where no bytes are expected.
    pub(super) async fn reply(&mut self) -> Result<Reply, AgentError> {
        self.receiver.reply().await
    }

    /// The reply [`Reply::Done`].
    pub(super) async fn done(mut self) -> Result<(), AgentError> {
        match self.reply().await? {
            Reply::Done => Ok(()),
            other => Err(AgentError::unexpected(&other)),
        }
    }
}

impl Receiver {
    /// What ended a connection of which nothing was heard: a bridge tells more than its pipes.
    async fn why(&self, error: AgentError) -> AgentError {
        let (Some(bridge), AgentError::Broken(_)) = (&self.bridge, &error) else {
            return error;
        };
        match bridge.ended(WHY).await {
            None | Some(Ended { code: Some(0), .. }) => error,
            Some(Ended {
                code: Some(NOBODY),
                said,
            }) => AgentError::Unreachable(io::Error::other(said)),
            Some(Ended { said, .. }) => AgentError::NoBridge(said),
        }
    }

    pub(super) async fn hello(&mut self) -> Result<String, AgentError> {
        let kind = match self.frame(Some(ANSWER)).await {
            Ok(kind) => kind,
            Err(error) => return Err(self.why(error).await),
        };
        if kind != Kind::Hello {
            return Err(AgentError::Unexpected { answer: "no Hello" });
        }
        let hello = Hello::from_payload(&self.payload)?;
        if hello.generation != GENERATION {
            return Err(AgentError::Generation(hello.generation));
        }
        Ok(hello.version)
    }

    /// The next reply, within [`ANSWER`], where no bytes are expected.
    pub(super) async fn reply(&mut self) -> Result<Reply, AgentError> {
        match self.frame(Some(ANSWER)).await? {
            Kind::Control => Ok(Reply::from_payload(&self.payload)?),
            _ => Err(AgentError::Unexpected {
                answer: "bytes where a reply was due",
            }),
        }
    }

    /// The next frame's kind; its payload is in [`Self::payload`]. `first` is how long it may take
    /// to begin; what has begun has [`ANSWER`]. Nothing is lost if this is cancelled.
    pub(super) async fn frame(&mut self, first: Option<Duration>) -> Result<Kind, AgentError> {
        if self.header_filled == 0 {
            let begun = self.stream.read(&mut self.header);
            let got = match first {
                Some(limit) => timeout(limit, begun)
                    .await
                    .map_err(|_| AgentError::Late(limit))?,
                None => begun.await,
            };
            self.header_filled = some(got)?;
        }
        timeout(ANSWER, self.rest())
            .await
            .map_err(|_| AgentError::Late(ANSWER))?
    }

    /// What is missing of a frame that has begun.
    async fn rest(&mut self) -> Result<Kind, AgentError> {
        while self.header_filled < HEADER_BYTES {
            let got = self
                .stream
                .read(&mut self.header[self.header_filled..])
                .await;
            self.header_filled += some(got)?;
        }
        let header = Header::parse(self.header)?;
        self.payload.resize(header.length, 0);
        while self.payload_filled < header.length {
            let got = self
                .stream
                .read(&mut self.payload[self.payload_filled..])
                .await;
            self.payload_filled += some(got)?;
        }
        self.header_filled = 0;
        self.payload_filled = 0;
        Ok(header.kind)
    }

    /// The payload of the last frame.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Sender {
    /// Sends a message.
    pub(super) async fn send(&mut self, message: &impl Message) -> Result<(), AgentError> {
        self.write(&message.to_frame().map_err(AgentError::Request)?)
            .await
    }

    /// Sends bytes as input, or their end if there are none.
    pub(super) async fn input(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        self.write(&encode(Kind::Input, bytes).map_err(AgentError::Request)?)
            .await
    }

    /// Sends bytes of a file, or their end if there are none. Nobody has to wait for what takes them.
    pub(super) async fn content(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        within(ANSWER, self.input(bytes)).await
    }

    /// The agent may take its time here: it slows us down to what a process takes.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        self.stream
            .write_all(bytes)
            .await
            .map_err(AgentError::Broken)?;
        self.stream.flush().await.map_err(AgentError::Broken)
    }
}

/// What `work` comes to, if it does within `limit`: an agent that says a little now and then keeps
/// nobody for longer.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    timeout(limit, work)
        .await
        .map_err(|_| AgentError::Late(limit))?
}

/// How much was read, which has to be something.
fn some(got: io::Result<usize>) -> Result<usize, AgentError> {
    match got {
        Ok(0) => Err(AgentError::Broken(io::ErrorKind::UnexpectedEof.into())),
        Ok(got) => Ok(got),
        Err(error) => Err(AgentError::Broken(error)),
    }
}
