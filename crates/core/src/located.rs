//! Errors in a file of ours, with the file, the line and the key.

use std::fmt;
use std::ops::Range;

/// What is wrong in a TOML file, and where.
///
/// Displays as `FILE:LINE: KEY: PROBLEM`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocatedError {
    /// The file, as the user named it.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// The key concerned, with its section (`limits.wall`), if there is one.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for LocatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for LocatedError {}

/// Largest manifest or policy, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// A TOML text and its file's name: makes [`LocatedError`]s from spans.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses the whole text as a `T`; unknown keys are errors if `T` denies them.
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(self) -> Result<T, LocatedError> {
        if self.text.len() > MAX_FILE_BYTES {
            return Err(self.error(
                &(0..0),
                format!("the file has more than {MAX_FILE_BYTES} bytes"),
            ));
        }
        toml::from_str(self.text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            self.error(&span, e.message().trim().replace('\n', "; "))
        })
    }

    /// An error at a span of the text. The key is the one whose line the span starts on.
    pub(crate) fn error(self, span: &Range<usize>, problem: impl Into<String>) -> LocatedError {
        let start = self
            .text
            .floor_char_boundary(span.start.min(self.text.len()));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        LocatedError {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            key: key_at(before, line),
            problem: problem.into(),
        }
    }
}

/// The dotted key on `line`, under the last `[section]` header of `before`.
fn key_at(before: &str, line: &str) -> Option<String> {
    let header = |line: &str| {
        let inner = line.trim().strip_prefix('[')?.split(']').next()?;
        Some(inner.trim_matches(['[', ' ']).to_owned())
    };
    if let Some(section) = header(line) {
        return Some(section);
    }
    let key = line.split_once('=')?.0.trim();
    match before.lines().rev().find_map(header) {
        Some(section) => Some(format!("{section}.{key}")),
        None => Some(key.to_owned()),
    }
}
