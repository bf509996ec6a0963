//! Standard output and error of a tool: kept up to a limit, at which the tool is stopped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Ended a tool that wrote more than its limit.
#[derive(Debug, thiserror::Error)]
#[error("more output than the limit allows")]
pub(crate) struct OutputLimitReached;

/// Largest write that a stream accepts at once, in bytes; the copy it costs is the host's memory.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// What a tool wrote to one of its streams. Clones share it.
#[derive(Clone)]
pub(crate) struct CappedOutput {
    limit: usize,
    written: Arc<Mutex<Vec<u8>>>,
}

impl CappedOutput {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            written: Arc::default(),
        }
    }

    /// Takes out what was written so far.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what fits of `bytes`.
    fn append(&self, bytes: &[u8]) -> Result<(), OutputLimitReached> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.limit.saturating_sub(written.len());
        written.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            Err(OutputLimitReached)
        } else {
            Ok(())
        }
    }
}

impl IsTerminal for CappedOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for CappedOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for CappedOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes).map_err(|e| StreamError::Trap(e.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for CappedOutput {
    async fn ready(&mut self) {}
}

impl AsyncWrite for CappedOutput {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(
            self.append(bytes)
                .map(|()| bytes.len())
                .map_err(std::io::Error::other),
        )
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
