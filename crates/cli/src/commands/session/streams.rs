//! A session's process on our own streams.

use std::io::{self, IsTerminal as _, Write};

use axocoatl_isolation::sessions::ProcessEvent;
use serde_json::{Value, json};

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
    kept: Option<Kept>,
}

/// What of a process's output is part of the answer.
#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Whether there was more.
    cut: bool,
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
            (ProcessEvent::Output(bytes), Some(kept)) => {
                kept.cut |= !keep(&mut kept.stdout, bytes, KEPT);
            }
            (ProcessEvent::Error(bytes), Some(kept)) => {
                kept.cut |= !keep(&mut kept.stderr, bytes, KEPT);
            }
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

    /// Adds what was kept for `--json` to an answer, and gives that back. Without `--json` there is no
    /// answer.
    pub(super) fn answer(&self, mut told: Value) -> Option<Value> {
        let kept = self.kept.as_ref()?;
        let text = |bytes: &[u8]| json!(String::from_utf8_lossy(bytes));
        told["stdout"] = text(&kept.stdout);
        told["stderr"] = text(&kept.stderr);
        told["cut"] = json!(kept.cut);
        if kept.cut {
            self.printer
                .note("the answer has the first 64 MiB of the output; the rest is left out");
        }
        Some(told)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("writing the process's output: {0}")]
struct NotWritten(io::Error);

/// Keeps what there is room for; whether that was all.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], most: usize) -> bool {
    let room = most.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    bytes.len() <= room
}

fn write(to: &mut impl Write, shown: bool, bytes: &[u8]) -> io::Result<()> {
    if shown {
        to.write_all(neutralise(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        to.write_all(bytes)?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn what_does_not_fit_is_cut_and_known() {
        let mut kept = Vec::new();
        assert!(keep(&mut kept, b"abc", 4));
        assert!(keep(&mut kept, b"d", 4));
        assert!(keep(&mut kept, b"", 4));
        assert!(!keep(&mut kept, b"e", 4));
        assert_eq!(kept, b"abcd");
    }
}
