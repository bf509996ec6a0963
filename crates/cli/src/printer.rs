//! The one place that writes to the terminal.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;

use crate::terminal::neutralise;

/// Writes results to standard output and everything else to standard error. Text that came from a
/// tool is neutralised where it meets a terminal, and passes unchanged elsewhere.
pub(crate) struct Printer {
    json: bool,
    /// Why a result did not arrive.
    failure: Cell<Option<io::Error>>,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            failure: Cell::new(None),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Why a result could not be written, if one could not.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    /// A result: `json` with `--json`, else `text`.
    pub(crate) fn result(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        if self.json {
            self.line(&json().to_string());
        } else {
            self.line(&text());
        }
    }

    /// A line of the result, which may be a tool's text.
    pub(crate) fn line(&self, text: &str) {
        crate::notices::clear();
        let mut stdout = io::stdout().lock();
        let shown = if stdout.is_terminal() {
            neutralise(text)
        } else {
            text.into()
        };
        let newline = if shown.ends_with('\n') { "" } else { "\n" };
        if let Err(error) = write!(stdout, "{shown}{newline}").and_then(|()| stdout.flush()) {
            // A reader that went away wants no more.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failure.set(Some(error));
            }
        }
    }

    /// A tool's log, on standard error.
    pub(crate) fn log(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        crate::notices::clear();
        let mut stderr = io::stderr().lock();
        let _ = if stderr.is_terminal() {
            let text = String::from_utf8_lossy(bytes);
            stderr.write_all(neutralise(&text).as_bytes())
        } else {
            stderr.write_all(bytes)
        };
        if !bytes.ends_with(b"\n") {
            let _ = stderr.write_all(b"\n");
        }
    }

    /// A remark of ours, on standard error.
    pub(crate) fn note(&self, text: &str) {
        say("", text);
    }

    /// An error with its causes: for people on standard error, with `--json` on standard output too.
    pub(crate) fn error(&self, error: &dyn std::error::Error, json: impl FnOnce() -> Value) {
        if self.json {
            self.line(&json().to_string());
        }
        self.problem(error);
    }

    /// An error among several, for people on standard error.
    pub(crate) fn problem(&self, error: &dyn std::error::Error) {
        say("error: ", &crate::convert::chain(error));
    }
}

/// One line on standard error. What stands in it may come from a tool or a file.
pub(crate) fn say(prefix: &str, text: &str) {
    crate::notices::clear();
    let mut stderr = anstream::stderr().lock();
    let text = if io::stderr().is_terminal() {
        neutralise(text)
    } else {
        text.into()
    };
    let (bold, plain) = if prefix.is_empty() {
        ("", "")
    } else {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    };
    let _ = writeln!(stderr, "{bold}{prefix}{plain}{text}");
}
