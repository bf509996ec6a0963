//! Connecting standard input and output with the socket, where sockets cannot cross.

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::{io, thread};

use crate::say;

/// Bytes that are carried at once.
const BUFFER: usize = 64 << 10;

/// One connection. Ends when the agent closes it.
pub(crate) fn run(socket: &Path) -> ExitCode {
    match bridge(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("{}: {e}", socket.display()));
            ExitCode::FAILURE
        }
    }
}

fn bridge(socket: &Path) -> io::Result<()> {
    let mut from_agent = UnixStream::connect(socket)?;
    let mut to_agent = from_agent.try_clone()?;
    // The descriptors themselves: what is buffered up to the end of a line comes too late.
    let mut from_host = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut to_host = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Not joined: it may wait for input when the agent has nothing more to say.
    thread::spawn(move || {
        let _ = copy(&mut from_host, &mut to_agent);
        let _ = to_agent.shutdown(Shutdown::Write);
    });
    copy(&mut from_agent, &mut to_host)
}

/// What has come goes on at once. The standard library's copy splices, which may wait for more.
fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => to.write_all(&buffer[..bytes])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
