//! What a machine writes to its serial console, and Firecracker and the jailer beside: read for as
//! long as the machine lives, because they wait where a pipe is full, and forgotten but for its end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// Bytes that are kept: the last ones.
pub const CONSOLE_KEPT_BYTES: usize = 64 << 10;
/// Bytes read at once: what a pipe holds by default.
const CHUNK: usize = 64 << 10;
/// How long is waited after a whole pipe was read: one who floods it costs us no more than a pipe in
/// this time.
const PAUSE: Duration = Duration::from_millis(1);
/// Lines that are told with an error.
const LAST_LINES: usize = 12;
/// And bytes of these.
const LAST_BYTES: usize = 4096;

/// Reads the console until it ends or this is dropped.
pub(super) struct Console {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Console {
    /// A console, the end of it that the machine writes to, and once more the one that is read: for who
    /// reads it when we are gone.
    pub(super) fn new() -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let again = read.try_clone()?;
        let pipe = Receiver::from_owned_fd(read)?;
        let kept = Arc::default();
        let reader = tokio::spawn(keep(pipe, Arc::clone(&kept)));
        Ok((Self { kept, reader }, write, again))
    }

    /// The last bytes.
    pub(super) fn kept(&self) -> Vec<u8> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().copied().collect()
    }

    /// The last lines, as text that is not to be trusted.
    pub(super) fn last_lines(&self) -> String {
        last_lines(&self.kept())
    }

    /// Waits until nobody writes any more, for a moment at most.
    pub(super) async fn settle(&self, moment: Duration) {
        let ended = async {
            while !self.reader.is_finished() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(moment, ended).await;
    }
}

/// The last lines of a console, as text that is not to be trusted.
pub(super) fn last_lines(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    last[last.ceil_char_boundary(last.len().saturating_sub(LAST_BYTES))..].to_owned()
}

impl Drop for Console {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn keep(mut pipe: Receiver, kept: Arc<Mutex<VecDeque<u8>>>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match pipe.read(&mut chunk).await {
            // A pipe that cannot be read has nothing more for us.
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&chunk[..read]);
            let over = kept.len().saturating_sub(CONSOLE_KEPT_BYTES);
            kept.drain(..over);
        }
        // Firecracker writes byte by byte: whatever came, the next is waited for.
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    #[tokio::test]
    async fn a_flood_is_read_to_its_end_and_only_its_end_is_kept() {
        let (console, write, _) = Console::new().unwrap();
        let writer = tokio::task::spawn_blocking(move || {
            let mut write = File::from(write);
            for _ in 0..200 {
                write.write_all(&[b'x'; 10_000]).unwrap();
            }
            write.write_all(b"\nfirst\n\nlast\n").unwrap();
        });
        writer.await.unwrap();
        console.settle(Duration::from_secs(10)).await;
        assert_eq!(console.kept().len(), CONSOLE_KEPT_BYTES);
        assert!(console.last_lines().ends_with("first\nlast"));
    }
}
