//! A session's process on our own streams.

use std::io::{self, IsTerminal as _, Write};

use axocoatl_isolation::sessions::ProcessEvent;

use super::Failed;
use crate::printer::Printer;
use crate::terminal::neutralise;

/// Writes what a process says to our standard output and error. What would move a terminal's cursor
/// is neutralised where it meets one; elsewhere every byte passes as it is.
pub(super) struct Streams<'a> {
    printer: &'a Printer,
    stdout_shown: bool,
    stderr_shown: bool,
    /// With `--json`: the output is part of the answer.
    kept: Option<(Vec<u8>, Vec<u8>)>,
}

/// Most of each stream that `--json` answers with, in bytes.
const KEPT: usize = 64 << 20;

impl<'a> Streams<'a> {
    pub(super) fn new(printer: &'a Printer) -> Self {
        crate::notices::clear();
        Self {
            printer,
            stdout_shown: io::stdout().is_terminal(),
            stderr_shown: io::stderr().is_terminal(),
            kept: printer.is_json().then(Default::default),
        }
    }

    pub(super) fn show(&mut self, event: &ProcessEvent<'_>) -> Result<(), Failed> {
        let failed = |error: io::Error| Failed::Terminal(Box::new(NotWritten(error)));
        match (event, &mut self.kept) {
            (ProcessEvent::Output(bytes), Some((out, _))) => keep(out, bytes),
            (ProcessEvent::Error(bytes), Some((_, err))) => keep(err, bytes),
            (ProcessEvent::Output(bytes), None) => {
                write(&mut io::stdout().lock(), self.stdout_shown, bytes).map_err(failed)?;
            }
            (ProcessEvent::Error(bytes), None) => {
                write(&mut io::stderr().lock(), self.stderr_shown, bytes).map_err(failed)?;
            }
            (ProcessEvent::Gap(lost), _) => {
                self.printer.note(&format!(
                    "{lost} bytes of output were lost: they came faster than they were read"
                ));
            }
            (ProcessEvent::Exited(_) | ProcessEvent::Done, _) => {}
        }
        Ok(())
    }

    /// What was kept for `--json`, as text.
    pub(super) fn kept(&self) -> Option<(String, String)> {
        let (out, err) = self.kept.as_ref()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((text(out), text(err)))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("writing the process's output: {0}")]
struct NotWritten(io::Error);

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT - kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn write(to: &mut impl Write, shown: bool, bytes: &[u8]) -> io::Result<()> {
    if shown {
        to.write_all(neutralise(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        to.write_all(bytes)?;
    }
    to.flush()
}
