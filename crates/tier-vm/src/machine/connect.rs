//! A stream to a program in the guest: its vsock, which Firecracker offers as a Unix socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::Machine;
use super::error::MachineError;
use super::jail::JailRoot;

/// The vsock's socket in the jail. A guest that connects to the host finds nobody: that would be a
/// socket `v.sock_PORT`, which we never make.
pub(super) const VSOCK: &str = "v.sock";
/// The guest's address; the first that is free.
pub(super) const GUEST_CID: u32 = 3;

/// Longest answer to `CONNECT`, in bytes: `OK 4294967295\n` and some.
const MAX_ANSWER_BYTES: usize = 32;
/// How long after a try the next one comes.
const PAUSE: Duration = Duration::from_millis(5);

const CONNECTING: &str = "connecting to the guest";

/// What came of one try.
pub(super) enum Tried {
    Connected(UnixStream),
    /// Nobody listens there yet.
    NotYet,
    /// An answer that is none of Firecracker's.
    Lied,
}

impl Machine {
    /// Connects to `port` of the guest, and tries until somebody listens there, but no longer than
    /// `within`.
    ///
    /// # Errors
    /// [`MachineError::Ended`], [`MachineError::Silent`] and [`MachineError::NoVsock`].
    pub async fn connect(&self, port: u32, within: Duration) -> Result<UnixStream, MachineError> {
        let deadline = Instant::now() + within;
        let tries = async {
            loop {
                match try_connect(&self.root, port).await {
                    Ok(Tried::Connected(stream)) => return Ok(stream),
                    Ok(Tried::Lied) => return Err(MachineError::NoVsock),
                    Ok(Tried::NotYet) | Err(_) => sleep(PAUSE).await,
                }
            }
        };
        let connected = tokio::select! {
            biased;
            connected = timeout_at(deadline, tries) => connected,
            end = self.ended() => return Err(self.ended_while(CONNECTING, end).await),
        };
        connected.unwrap_or_else(|_| {
            Err(MachineError::Silent {
                doing: CONNECTING,
                within,
                console: self.console.last_lines(),
            })
        })
    }
}

/// One try, through the root of the machine's jail.
pub(super) async fn try_connect(root: &JailRoot, port: u32) -> io::Result<Tried> {
    let mut stream = root.connect(VSOCK).await?;
    stream
        .write_all(format!("CONNECT {port}\n").as_bytes())
        .await?;
    // No byte more than the line: what follows is the guest's.
    let mut line = Vec::with_capacity(MAX_ANSWER_BYTES);
    let mut byte = [0];
    loop {
        if stream.read(&mut byte).await? == 0 {
            return Ok(Tried::NotYet);
        }
        match byte {
            [b'\n'] => break,
            [other] if line.len() < MAX_ANSWER_BYTES => line.push(other),
            _ => return Ok(Tried::Lied),
        }
    }
    Ok(match is_ok(&line) {
        true => Tried::Connected(stream),
        false => Tried::Lied,
    })
}

/// Whether this is `OK` and a port.
fn is_ok(line: &[u8]) -> bool {
    line.strip_prefix(b"OK ")
        .is_some_and(|port| (1..=10).contains(&port.len()) && port.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ok_with_a_port_is_one() {
        assert!(is_ok(b"OK 1073741824"));
        for line in ["", "OK", "OK ", "ok 1", "OK 1 2", "OK x", "OK 12345678901"] {
            assert!(!is_ok(line.as_bytes()), "{line}");
        }
    }
}
