//! Speaking with a machine's guest agent: one operation a connection. Whatever comes is a hostile
//! guest's, perhaps: its frames are bounded, and everything has a deadline of ours.

use std::time::Duration;

use axo_guest_proto::{
    Failure, GENERATION, HEADER_BYTES, Header, Hello, Kind, Message, ProtocolError, Reply, Request,
    encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long a short operation may take. Emulated processors are slow.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the connection to the machine's agent ended")]
    Broken(#[from] std::io::Error),
    #[error("the machine's agent did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the machine's agent breaks the protocol")]
    Protocol(#[from] ProtocolError),
    #[error("the machine's agent answered out of turn")]
    Unexpected,
    #[error("the machine's agent does not say how the tool ended")]
    NoEnd,
    #[error("the machine's agent speaks generation {0} of the protocol, and we speak {GENERATION}")]
    Generation(u32),
    #[error("{0}")]
    Failed(Failure),
}

/// A connection whose request was sent.
pub(crate) struct Operation {
    pub(crate) hears: Hears,
    pub(crate) tells: Tells,
}

/// What the agent says.
pub(crate) struct Hears {
    stream: OwnedReadHalf,
    payload: Vec<u8>,
    /// Whether the agent's hello was heard: it comes with its first reply.
    greeted: bool,
}

/// What is said to it.
pub(crate) struct Tells(OwnedWriteHalf);

impl Operation {
    /// Sends `request`.
    pub(crate) async fn begin(stream: UnixStream, request: &Request) -> Result<Self, AgentError> {
        let (read, write) = stream.into_split();
        let mut operation = Self {
            hears: Hears {
                stream: read,
                payload: Vec::new(),
                greeted: false,
            },
            tells: Tells(write),
        };
        let mut opening = Hello::new(env!("CARGO_PKG_VERSION")).to_frame()?;
        opening.extend(request.to_frame()?);
        within(ANSWER, async {
            Ok(operation.tells.0.write_all(&opening).await?)
        })
        .await?;
        Ok(operation)
    }

    /// Sends `request`, which is answered by [`Reply::Done`] alone.
    pub(crate) async fn done(
        stream: UnixStream,
        request: &Request,
        limit: Duration,
    ) -> Result<(), AgentError> {
        let mut operation = Self::begin(stream, request).await?;
        match within(limit, operation.hears.reply()).await? {
            Reply::Done => Ok(()),
            Reply::Failed(failure) => Err(AgentError::Failed(failure)),
            _ => Err(AgentError::Unexpected),
        }
    }
}

impl Hears {
    async fn hello(&mut self) -> Result<(), AgentError> {
        if self.next().await? != Kind::Hello {
            return Err(AgentError::Unexpected);
        }
        match Hello::from_payload(&self.payload)?.generation {
            GENERATION => Ok(()),
            other => Err(AgentError::Generation(other)),
        }
    }

    /// The next reply, where no bytes are due.
    async fn reply(&mut self) -> Result<Reply, AgentError> {
        match self.frame().await? {
            Kind::Control => Ok(Reply::from_payload(&self.payload)?),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// The next frame's kind; its payload is in [`Self::payload`]. Without a deadline, and lost if it
    /// is cancelled: whoever waits for it gives the machine up then.
    pub(crate) async fn frame(&mut self) -> Result<Kind, AgentError> {
        if !self.greeted {
            self.hello().await?;
            self.greeted = true;
        }
        self.next().await
    }

    async fn next(&mut self) -> Result<Kind, AgentError> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await?;
        let header = Header::parse(header)?;
        self.payload.resize(header.length, 0);
        self.stream.read_exact(&mut self.payload).await?;
        Ok(header.kind)
    }

    /// The payload of the last frame.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Tells {
    /// Sends bytes of the input, or their end if there are none. The agent may take its time: it
    /// slows us down to what it takes.
    pub(crate) async fn input(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        Ok(self.0.write_all(&encode(Kind::Input, bytes)?).await?)
    }
}

/// What `work` comes to, if it does within `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(AgentError::Late(limit)))
}
