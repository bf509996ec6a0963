//! `session shell`: a terminal in a session, on ours.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;

use axocoatl_isolation::sessions::{
    AgentError, Input, Position, ProcessEvent, ProcessId, Run, Size,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{Failed, exec, session};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

/// Ctrl-P Ctrl-Q leaves a terminal and lets it run, as with Docker and podman.
const DETACH: [u8; 2] = [0x10, 0x11];
/// Where nobody says how large the terminal is.
const DEFAULT_SIZE: Size = Size {
    rows: 24,
    columns: 80,
};
/// Bytes that are read from our input at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
enum ShellError {
    #[error("`session shell` needs a terminal; `session exec` runs commands without one")]
    NoTerminal,
    #[error("putting the terminal into raw mode: {0}")]
    Raw(#[source] std::io::Error),
    #[error("writing to the terminal: {0}")]
    Write(#[source] std::io::Error),
}

pub(super) async fn run(arguments: args::Shell, printer: &Printer) -> Result<Exit, Failed> {
    let terminal = |error| Failed::Terminal(Box::new(error));
    if printer.is_json() {
        return Err(Failed::command_line(
            "a shell is for people: leave --json out",
        ));
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failed::CommandLine(Box::new(ShellError::NoTerminal)));
    }
    // Before the size is first told: a change that comes while it is would be lost.
    let resized = signal(SignalKind::window_change()).map_err(|e| terminal(ShellError::Raw(e)))?;
    let session = session(&arguments.session).await?;
    let process = match arguments.attach {
        Some(process) => {
            let process = ProcessId(process);
            let attached = session.attach(process, Position::Start, true).await?;
            // The program draws itself for this terminal.
            session.resize(process, size()).await?;
            attached
        }
        None => {
            let command = match arguments.command.is_empty() {
                true => vec!["/bin/sh".into()],
                false => arguments.command,
            };
            let mut run = Run::new(command.into_iter().map(|word| word.into_vec()));
            let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
            run.environment.push((b"TERM".to_vec(), kind.into_bytes()));
            session.run(run.in_terminal(size())).await?
        }
    };
    let id = process.id();
    let raw = RawMode::enter().map_err(|e| terminal(ShellError::Raw(e)))?;
    let (mut output, mut input) = process.split();
    // Beside the output: a program that draws while it reads takes no more keys until it is heard.
    let mut feeding = Box::pin(feed(&mut input, resized));
    let exit = loop {
        tokio::select! {
            event = output.next() => match event? {
                Some(ProcessEvent::Output(bytes) | ProcessEvent::Error(bytes)) => {
                    let mut stdout = std::io::stdout().lock();
                    stdout
                        .write_all(bytes)
                        .and_then(|()| stdout.flush())
                        .map_err(|e| terminal(ShellError::Write(e)))?;
                }
                Some(ProcessEvent::Exited(exited)) => break Some(exec::exit(&exited)),
                Some(ProcessEvent::Gap(_)) => {}
                Some(ProcessEvent::Done) | None => break None,
            },
            left = &mut feeding => {
                left?;
                break None;
            }
        }
    };
    drop(raw);
    Ok(exit.unwrap_or_else(|| {
        let called = session.record().called().to_owned();
        printer.note(&format!(
            "\nit goes on; `axocoatl session shell --attach {id} {called}` goes back to it"
        ));
        Exit::Success
    }))
}

/// Passes keys and sizes on, until the keys that leave the terminal, or the end of our input.
async fn feed(input: &mut Input, mut resized: Signal) -> Result<(), AgentError> {
    let mut typed = read_stdin();
    let mut detaching = Detaching::default();
    loop {
        tokio::select! {
            bytes = typed.recv() => {
                let Some(bytes) = bytes else { return Ok(()) };
                let (pass, leave) = detaching.sift(&bytes);
                if !pass.is_empty() {
                    input.write(&pass).await?;
                }
                if leave {
                    return Ok(());
                }
            }
            _ = resized.recv() => input.resize(size()).await?,
        }
    }
}

fn size() -> Size {
    match tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => DEFAULT_SIZE,
    }
}

/// Our terminal passes every key on while this lives.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put right.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Looks for the keys that leave the terminal.
#[derive(Default)]
struct Detaching {
    /// Whether the first of them was the last key.
    first_seen: bool,
}

impl Detaching {
    /// What of `typed` is the program's, and whether to leave.
    fn sift(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for byte in typed {
            match (self.first_seen, *byte) {
                (true, byte) if byte == DETACH[1] => return (pass, true),
                (seen, byte) => {
                    if seen {
                        pass.push(DETACH[0]);
                    }
                    self.first_seen = byte == DETACH[0];
                    if !self.first_seen {
                        pass.push(byte);
                    }
                }
            }
        }
        (pass, false)
    }
}

/// Our input as it comes; closed at its end. The thread ends with the process: a read cannot be
/// given up.
pub(super) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK];
        loop {
            match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    if sender.blocking_send(chunk[..read].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::Detaching;

    #[test]
    fn both_keys_in_a_row_leave_and_everything_else_passes() {
        let sift = |chunks: &[&[u8]]| {
            let mut detaching = Detaching::default();
            let mut passed = Vec::new();
            for chunk in chunks {
                let (pass, leave) = detaching.sift(chunk);
                passed.extend(pass);
                if leave {
                    return (passed, true);
                }
            }
            (passed, false)
        };
        assert_eq!(sift(&[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(sift(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(sift(&[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(sift(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(sift(&[b"\x11"]), (b"\x11".to_vec(), false));
    }
}
