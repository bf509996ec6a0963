//! What a program came to.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use serde_json::Value;

/// A program that ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap()
    }

    /// What it wrote to standard output as JSON; with `--json` that is one line.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("no JSON on standard output: {e}\n{self}"))
    }

    /// It exited with `code`, and said each of `phrases` on standard error.
    #[track_caller]
    pub(crate) fn exits(self, code: i32, phrases: &[&str]) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        let err = String::from_utf8_lossy(&self.stderr);
        for phrase in phrases {
            assert!(err.contains(phrase), "{phrase:?} is not said\n{self}");
        }
        assert!(!err.contains("panicked"), "{self}");
        self
    }

    /// It exited with 0.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.exits(0, &[])
    }

    /// It exited with 0 and had nothing to say.
    #[track_caller]
    pub(crate) fn succeeds_silently(self) -> Self {
        assert!(self.stderr.is_empty(), "{self}");
        self.succeeds()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
        write!(
            f,
            "{}\n--- standard output\n{}\n--- standard error\n{}",
            self.status,
            start(&self.stdout),
            start(&self.stderr)
        )
    }
}
