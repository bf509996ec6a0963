//! The one place that writes to the terminal.

use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;

use crate::terminal::neutralise;

/// Writes results to standard output and everything else to standard error. Text that came from a
/// tool is neutralised where it meets a terminal, and passes unchanged elsewhere.
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A result: `json` with `--json`, else `text`.
    pub(crate) fn result(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        if self.json {
            self.line(&json().to_string())
        } else {
            self.line(&text())
        }
    }

    /// A line of the result, which may be a tool's text.
    pub(crate) fn line(&self, text: &str) {
        let mut stdout = anstream::stdout().lock();
        let shown = if io::stdout().is_terminal() {
            neutralise(text)
        } else {
            text.into()
        };
        let newline = if shown.ends_with('\n') { "" } else { "\n" };
        // A reader that went away wants no more; there is nobody to tell.
        let _ = write!(stdout, "{shown}{newline}").and_then(|()| stdout.flush());
    }

    /// Bytes of the result as they are, for standard output that is no terminal.
    pub(crate) fn document(&self, text: &str) {
        if io::stdout().is_terminal() {
            return self.line(text);
        }
        let mut stdout = io::stdout().lock();
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush());
    }

    /// A tool's log, on standard error.
    pub(crate) fn log(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
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
        say("error: ", &crate::convert::chain(error));
    }
}

/// One line on standard error. What stands in it may come from a tool or a file.
pub(crate) fn say(prefix: &str, text: &str) {
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
