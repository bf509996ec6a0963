//! The audit log: one JSON line a call, written before its outcome is returned.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use axo_core::{CallId, Outcome, ToolCall, ToolName};
use serde::Serialize;

use crate::error::CallError;

/// Where calls are recorded.
///
/// The file is opened by the first call, for appending, readable by its owner alone. Each record is
/// one write, so several processes may share a log. A record outlives this process, but is not
/// forced to the disk at every call.
#[derive(Debug)]
pub struct AuditLog {
    path: Option<PathBuf>,
    file: OnceLock<File>,
    /// A record was cut short: the next begins on a line of its own.
    torn: AtomicBool,
}

/// One record. Times are in microseconds, sizes in bytes. Absent fields were not known.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    call_id: String,
    tool: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// `ran`, `refused`, `failed` or `cancelled`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    termination: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    input_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
}

/// Longest error text in a record, in bytes: a record stays one small write.
const MAX_ERROR_BYTES: usize = 1 << 10;

/// A call that is under way. Dropped without being closed, it records that the call was cancelled.
pub(crate) struct OpenRecord<'a> {
    log: &'a AuditLog,
    call_id: CallId,
    tool: ToolName,
    input_bytes: usize,
    closed: bool,
}

impl AuditLog {
    /// Records into the file at `path`, made if there is none.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            file: OnceLock::new(),
            torn: AtomicBool::new(false),
        }
    }

    /// Records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self {
            path: None,
            file: OnceLock::new(),
            torn: AtomicBool::new(false),
        }
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn failure(&self, source: io::Error, outcome: Option<Box<Outcome>>) -> CallError {
        CallError::Audit {
            path: self.path.clone().unwrap_or_default(),
            source,
            outcome,
        }
    }

    /// Begins the record of a call.
    ///
    /// # Errors
    /// If the log cannot be opened: then the call must not be made.
    pub(crate) fn open(&self, call: &ToolCall) -> Result<OpenRecord<'_>, CallError> {
        self.opened().map_err(|source| self.failure(source, None))?;
        Ok(OpenRecord {
            log: self,
            call_id: call.id,
            tool: call.tool.clone(),
            input_bytes: call.input.text().len(),
            closed: false,
        })
    }

    /// The open log, if there is one.
    fn opened(&self) -> io::Result<Option<&File>> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        if self.file.get().is_none() {
            // Two threads may both open it; the first kept is used by both.
            let _ = self.file.set(open_log(path)?);
        }
        Ok(self.file.get())
    }

    fn write(&self, record: &Record<'_>) -> io::Result<()> {
        let Some(mut file) = self.opened()? else {
            return Ok(());
        };
        let mut line = Vec::with_capacity(512);
        if self.torn.swap(false, Ordering::Relaxed) {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        // One write, not write_all: a log that takes half a record is full or broken.
        let written = file
            .write(&line)
            .inspect_err(|_| self.torn.store(true, Ordering::Relaxed))?;
        if written < line.len() {
            self.torn.store(true, Ordering::Relaxed);
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "only part of the record was written",
            ));
        }
        Ok(())
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!(
            "{} is not a regular file",
            path.display()
        )));
    }
    Ok(file)
}

impl OpenRecord<'_> {
    /// Writes the record, and hands the result on. A result that could not be recorded becomes an
    /// error that carries it.
    pub(crate) fn close(
        mut self,
        result: Result<Outcome, CallError>,
    ) -> Result<Outcome, CallError> {
        self.closed = true;
        let mut record = self.record();
        let ran = match &result {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                record.result = if matches!(error, CallError::Denied(_)) {
                    "refused"
                } else {
                    "failed"
                };
                record.error = Some(chain(error));
                error.outcome()
            }
        };
        if let Some(outcome) = ran {
            describe(&mut record, outcome);
        }
        match self.log.write(&record) {
            Ok(()) => result,
            Err(source) => {
                let outcome = match result {
                    Ok(outcome) => Some(Box::new(outcome)),
                    Err(CallError::Output { outcome, .. }) => Some(outcome),
                    Err(_) => None,
                };
                Err(self.log.failure(source, outcome))
            }
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            call_id: self.call_id.to_string(),
            tool: self.tool.as_str(),
            version: None,
            result: "ran",
            tier: None,
            minimum: None,
            termination: None,
            exit_code: None,
            error: None,
            digest: None,
            input_bytes: self.input_bytes,
            output_bytes: None,
            wall_us: None,
            cpu_us: None,
            peak_memory: None,
            fuel: None,
        }
    }
}

impl Drop for OpenRecord<'_> {
    fn drop(&mut self) {
        if !self.closed {
            let record = Record {
                result: "cancelled",
                ..self.record()
            };
            if let Err(error) = self.log.write(&record) {
                tracing::error!(call_id = %self.call_id, %error, "a cancelled call could not be recorded");
            }
        }
    }
}

fn describe<'a>(record: &mut Record<'a>, outcome: &'a Outcome) {
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    record.version = outcome.version.as_deref();
    record.tier = Some(outcome.tier.as_str());
    record.minimum = Some(outcome.placement.minimum.as_str());
    record.termination = Some(outcome.termination.as_str());
    record.exit_code = outcome.exit_code();
    record.digest = outcome.digest.as_deref();
    record.output_bytes = outcome.document().map(|document| document.text().len());
    record.wall_us = Some(micros(outcome.usage.wall));
    record.cpu_us = outcome.usage.cpu.map(micros);
    record.peak_memory = outcome.usage.peak_memory;
    record.fuel = outcome.usage.fuel;
}

/// The error and its causes in one line, of at most [`MAX_ERROR_BYTES`].
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = axo_core::chain(error);
    text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    text
}
