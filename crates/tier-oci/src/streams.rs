//! The tool's standard output and error: read as they come, each up to the limit.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// Bytes read at once: what a pipe holds by default.
const CHUNK: usize = 64 << 10;

/// One stream, read by us and written by the tool.
pub(crate) struct Stream {
    pipe: Receiver,
    kept: Vec<u8>,
    limit: usize,
}

/// Why reading stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StreamEnd {
    /// Nobody writes any more.
    Closed,
    /// There is more than the limit allows.
    OverLimit,
}

impl Stream {
    /// A stream, and the end of it that the tool gets.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let stream = Self {
            pipe: Receiver::from_owned_fd(read)?,
            kept: Vec::new(),
            limit: 0,
        };
        Ok((stream, write))
    }

    /// Keeps at most `limit` bytes.
    pub(crate) fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Reads until the stream ends or passes its limit. Can be dropped and called again: what was
    /// read is kept.
    pub(crate) async fn read(&mut self) -> io::Result<StreamEnd> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.pipe.read(&mut chunk).await?;
            if read == 0 {
                return Ok(StreamEnd::Closed);
            }
            let room = self.limit.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(&chunk[..read.min(room)]);
            if read > room {
                return Ok(StreamEnd::OverLimit);
            }
        }
    }

    /// What was read.
    pub(crate) fn into_kept(self) -> Vec<u8> {
        self.kept
    }
}
