//! The tool's standard output and error: told as they come, each up to the limit.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use axo_guest_proto::Kind;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::client::{Broken, Writer, put_header, with_client};
use crate::event_loop::register;

/// Bytes of one frame: what a pipe holds by default.
const CHUNK: usize = 64 << 10;

/// Both streams, read by us and written by the tool.
pub(super) struct Streams([Stream; 2]);

struct Stream {
    kind: Kind,
    pipe: AsyncFd<OwnedFd>,
    /// How much more may come.
    left: Cell<u64>,
    open: Cell<bool>,
}

/// How far a tool's output went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// All of it was told.
    All,
    /// There is more than the limit allows; as much as that was told.
    OverLimit,
}

impl Streams {
    /// The streams, and the ends of them that the tool gets.
    pub(super) fn new() -> io::Result<(Self, [OwnedFd; 2])> {
        let (out, their_out) = Stream::new(Kind::Output)?;
        let (err, their_err) = Stream::new(Kind::Error)?;
        Ok((Self([out, err]), [their_out, their_err]))
    }

    /// Sends what waits, then tells what comes until the tool has ended, which `ended` says, or has
    /// written too much, which `flooded` is told at once. Ends earlier only with the client.
    pub(super) async fn tell(
        &self,
        limit: u64,
        writer: &mut Writer,
        flooded: oneshot::Sender<()>,
        mut ended: oneshot::Receiver<()>,
    ) -> Result<Told, Broken> {
        let [out, err] = &self.0;
        for stream in &self.0 {
            stream.left.set(limit);
        }
        with_client(writer.flush()).await?;
        let mut scratch = vec![0; CHUNK];
        let mut over = false;
        while !over {
            let (stream, ready) = tokio::select! {
                ready = out.pipe.readable(), if out.open.get() => (out, ready),
                ready = err.pipe.readable(), if err.open.get() => (err, ready),
                _ = &mut ended => {
                    over = true;
                    continue;
                }
            };
            let mut ready = ready?;
            match stream.read(&mut scratch, writer) {
                Got::Bytes => with_client(writer.flush()).await?,
                Got::Nothing => ready.clear_ready(),
                Got::TooMuch => {
                    let _ = flooded.send(());
                    with_client(writer.flush()).await?;
                    return Ok(Told::OverLimit);
                }
                Got::End => stream.open.set(false),
            }
        }
        // Nobody writes any more: what is in the pipes is the last of it.
        for stream in self.0.iter().filter(|stream| stream.open.get()) {
            loop {
                let got = stream.read(&mut scratch, writer);
                with_client(writer.flush()).await?;
                match got {
                    Got::Bytes => {}
                    Got::TooMuch => return Ok(Told::OverLimit),
                    Got::Nothing | Got::End => break,
                }
            }
        }
        Ok(Told::All)
    }
}

/// What a read came to.
enum Got {
    Bytes,
    TooMuch,
    Nothing,
    End,
}

impl Stream {
    fn new(kind: Kind) -> io::Result<(Self, OwnedFd)> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        // The tool's end stays as programs expect it.
        fcntl_setfl(&reading, OFlags::NONBLOCK)?;
        let stream = Self {
            kind,
            pipe: register(reading)?,
            left: Cell::new(0),
            open: Cell::new(true),
        };
        Ok((stream, writing))
    }

    /// Puts what there is to be read, up to the limit, behind what waits to be sent.
    fn read(&self, scratch: &mut [u8], writer: &mut Writer) -> Got {
        let read = match retry_on_intr(|| rustix::io::read(self.pipe.get_ref(), &mut *scratch)) {
            Ok(0) => return Got::End,
            Ok(read) => read,
            Err(Errno::AGAIN) => return Got::Nothing,
            // A pipe that cannot be read has nothing more for us.
            Err(_) => return Got::End,
        };
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let told = read.min(left);
        self.left.set(self.left.get() - told as u64);
        if told > 0 {
            put_header(writer.buffer(), self.kind, told);
            writer.buffer().extend_from_slice(&scratch[..told]);
        }
        if read > told {
            Got::TooMuch
        } else {
            Got::Bytes
        }
    }
}
