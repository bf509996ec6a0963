//! The other side of a connection: frames from it and to it.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use axo_guest_proto::{Code, Failure, HEADER_BYTES, Header, Kind, Message as _, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that are read ahead: a hello and most requests in one system call.
const READ_AHEAD: usize = 4096;

/// Memory taken for a payload before its bytes are there.
const FIRST_BYTES: usize = 64 << 10;

/// How long a client may neither take nor send anything of a file or a tool.
const STALLED: Duration = Duration::from_secs(60);

/// Why an operation did not come to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It failed, and the client is told.
    Failed(Failure),
    /// There is nobody to be told.
    Closed,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

pub(crate) fn split(stream: UnixStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (
        Reader {
            half: BufReader::with_capacity(READ_AHEAD, reader),
            payload: Vec::new(),
        },
        Writer {
            half: writer,
            buffer: Vec::new(),
            within: false,
        },
    )
}

/// What comes from the client.
pub(crate) struct Reader {
    half: BufReader<OwnedReadHalf>,
    payload: Vec<u8>,
}

impl Reader {
    /// The next frame. Not to be cancelled and gone on with.
    pub(crate) async fn next(&mut self) -> Result<(Kind, &mut Vec<u8>), Broken> {
        let mut header = [0; HEADER_BYTES];
        self.half.read_exact(&mut header).await?;
        let Header { kind, length } = Header::parse(header).map_err(malformed)?;
        self.payload.clear();
        // No more memory than bytes: a length is only a promise.
        self.payload.reserve(length.min(FIRST_BYTES));
        let mut promised = (&mut self.half).take(length as u64);
        if promised.read_to_end(&mut self.payload).await? < length {
            return Err(Broken::Closed);
        }
        Ok((kind, &mut self.payload))
    }

    /// The memory of a payload, to be used again.
    pub(crate) fn give_back(&mut self, payload: Vec<u8>) {
        self.payload = payload;
    }

    /// Until the client closes, or sends what it may not.
    pub(crate) async fn closed(&mut self) -> Broken {
        match self.next().await {
            Ok(_) => invalid("nothing is to be sent here").into(),
            Err(broken) => broken,
        }
    }

    /// Whether the client has closed, whatever it sent before that is not read yet.
    pub(crate) fn has_closed(&self) -> bool {
        let mut looked_at = [PollFd::new(self.descriptor(), PollFlags::RDHUP)];
        poll(&mut looked_at, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn descriptor(&self) -> &impl AsFd {
        self.half.get_ref().as_ref()
    }
}

/// What goes to the client.
pub(crate) struct Writer {
    half: OwnedWriteHalf,
    buffer: Vec<u8>,
    /// Whether a write was begun and not ended: nothing can follow it.
    within: bool,
}

impl Writer {
    /// Puts a message behind what waits to be sent.
    pub(crate) fn put(&mut self, message: &impl axo_guest_proto::Message) {
        let frame = message.to_frame().or_else(|e| {
            let failure = Failure::new(Code::Io, None, format!("a reply that cannot be sent: {e}"));
            Reply::Failed(failure).to_frame()
        });
        self.buffer.extend(frame.unwrap_or_default());
    }

    /// The bytes that wait to be sent, to be added to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends all that waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.within {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.within = true;
        self.half.write_all(&self.buffer).await?;
        self.within = false;
        self.buffer.clear();
        Ok(())
    }

    /// Sends a message, and all before it.
    pub(crate) async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        self.put(reply);
        self.flush().await
    }
}

/// As long as the client takes part.
pub(crate) async fn with_client<T, E: Into<Broken>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Broken> {
    match tokio::time::timeout(STALLED, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => {
            let why = format!("the client did nothing for {} s", STALLED.as_secs());
            Err(Failure::new(Code::Stalled, None, why).into())
        }
    }
}

/// Appends the header of a frame.
pub(crate) fn put_header(buffer: &mut Vec<u8>, kind: Kind, length: usize) {
    if let Ok(header) = (Header { kind, length }).to_bytes() {
        buffer.extend_from_slice(&header);
    }
}

pub(crate) fn invalid(why: &str) -> Failure {
    Failure::new(Code::Invalid, None, why)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
pub(crate) fn malformed(e: axo_guest_proto::ProtocolError) -> Broken {
    Broken::Failed(Failure::new(Code::Invalid, None, e.to_string()))
}
