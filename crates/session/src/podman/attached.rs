//! A podman that is spoken with while it runs, over its standard input and output.
//!
//! ```text
//! Podman::attach ──▶ Attached { stdin, stdout, held }
//!                      └─ a task of its own: keeps the end of its standard error, waits for its end
//! ```
//!
//! It is ended when all [`Held`] of it are dropped: it has a moment to end by itself, for its input
//! has ended by then, and is killed with its process group. Meanwhile what it says is read by the task:
//! a podman whose output nobody takes does not tell its container that the input has ended. With the
//! runtime's end it is killed at once.

use std::ffi::OsStr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::command::{Podman, spawn};
use super::error::PodmanError;
use super::excerpt::excerpt;
use super::group::Group;

/// How long it may take to end by itself after its input has ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long its standard error is read after its end: what it left in the background may hold it.
const LINGER: Duration = Duration::from_millis(500);
/// How much of its standard error is kept, in bytes: the end.
const KEPT_BYTES: usize = 16 << 10;

/// A podman that runs.
pub(crate) struct Attached {
    /// What it hears.
    pub(crate) stdin: ChildStdin,
    /// What it says.
    pub(crate) stdout: Said,
    /// Keeps it.
    pub(crate) held: Held,
}

/// What a podman that runs says. Dropped, it goes back to the task, which reads on.
pub(crate) struct Said {
    stream: Option<ChildStdout>,
    back: Option<oneshot::Sender<ChildStdout>>,
}

/// Keeps a podman that runs. Clones keep the same one.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    ended: watch::Receiver<Option<Ended>>,
    _wanted: Arc<oneshot::Sender<()>>,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    /// Its status; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The end of its standard error, fit to be shown.
    pub(crate) said: String,
}

impl Podman {
    /// Starts podman with these arguments. It runs until it ends, or [`Held`] is dropped.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn attach<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Attached, PodmanError> {
        let started = |source| PodmanError::Start {
            program: self.program().to_owned(),
            source,
        };
        let mut child = spawn(self, arguments).map_err(started)?;
        let group = Group::of(&child);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(started(std::io::Error::other("it has no pipes")));
        };
        let (wanted, unwanted) = oneshot::channel();
        let (told, ended) = watch::channel(None);
        let (back, given_back) = oneshot::channel();
        let life = live(child, stderr, given_back);
        tokio::spawn(attend(life, group, unwanted, told));
        Ok(Attached {
            stdin,
            stdout: Said {
                stream: Some(stdout),
                back: Some(back),
            },
            held: Held {
                ended,
                _wanted: Arc::new(wanted),
            },
        })
    }
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Where the task has ended, so has podman.
            let _ = back.send(stream);
        }
    }
}

impl Held {
    /// How it ended, if it does within `limit`.
    pub(crate) async fn ended(&self, limit: Duration) -> Option<Ended> {
        let mut ended = self.ended.clone();
        let told = timeout(limit, ended.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.clone()
    }
}

/// Until it has ended, or nobody wants it any more.
async fn attend(
    life: impl Future<Output = Ended>,
    group: Group,
    unwanted: oneshot::Receiver<()>,
    told: watch::Sender<Option<Ended>>,
) {
    tokio::pin!(life);
    let ended = tokio::select! {
        ended = &mut life => ended,
        _ = unwanted => match timeout(FAREWELL, life).await {
            Ok(ended) => ended,
            // What is left of it is killed as `group` is dropped.
            Err(_) => return,
        },
    };
    // It is gone, and what it left in the background is meant to live.
    group.disarm();
    told.send_replace(Some(ended));
}

/// To its end, with the end of what it wrote to its standard error.
async fn live(
    mut child: Child,
    mut stderr: ChildStderr,
    given_back: oneshot::Receiver<ChildStdout>,
) -> Ended {
    let (mut kept, mut open) = (Vec::new(), true);
    let unheard = async {
        if let Ok(mut stdout) = given_back.await {
            let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(unheard);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            more = keep(&mut stderr, &mut kept), if open => open = more,
            () = &mut unheard => {}
        }
    };
    if open {
        let rest = async { while keep(&mut stderr, &mut kept).await {} };
        let _ = timeout(LINGER, rest).await;
    }
    Ended {
        code: status.ok().and_then(|status| status.code()),
        said: excerpt(&kept),
    }
}

/// Reads on in a stream and keeps its last bytes; whether there may be more.
async fn keep(stream: &mut ChildStderr, kept: &mut Vec<u8>) -> bool {
    let read = stream.read_buf(kept).await;
    // Twice, so that moving bytes is rare.
    if kept.len() > 2 * KEPT_BYTES {
        kept.drain(..kept.len() - KEPT_BYTES);
    }
    matches!(read, Ok(1..))
}
