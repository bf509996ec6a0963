//! Programs in hosts of their own, some at once: an emulated host does one thing at a time, mostly.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Guest;
use crate::shell::say;
use crate::vmhost::STOOD_STILL;

/// As many at once, if there are as many processors.
const AT_ONCE: usize = 2;

/// So often in all a job is begun whose host QEMU loses: that is no fault of what it runs.
const TRIES: usize = 3;

/// A program that is run in a host.
pub(super) struct Job<'a> {
    pub(super) name: String,
    /// How `vmhost` is asked for the host.
    pub(super) host: &'a [&'a str],
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<String>,
    /// What it writes besides. It is its last try's, or is not there.
    pub(super) saves: Option<PathBuf>,
}

/// Runs all of them, begun in this order, and answers the names of those that failed. Each says what it
/// came to when it has.
pub(super) fn run(guest: &Guest<'_>, jobs: Vec<Job<'_>>) -> Vec<String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(jobs.into_iter());
    let failed = Mutex::new(Vec::new());
    let next = || locked(&waiting).next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(processors) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    say(format_args!("\n.. {}: begins", job.name));
                    let begun = Instant::now();
                    let (log, result) = job.run(guest);
                    let took = begun.elapsed().as_secs();
                    // Held, so that what two of them say is not mixed.
                    let mut failed = locked(&failed);
                    say(format_args!("\n== {}, in {took} s\n{log}", job.name));
                    if let Err(error) = result {
                        say(format_args!("{error:#}"));
                        failed.push(job.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Job<'_> {
    /// What it says, and whether it ended well.
    fn run(&self, guest: &Guest<'_>) -> (String, Result<()>) {
        // Of every try: what a lost one said may be of use.
        let mut log = String::new();
        for tries in 1.. {
            let output = match self.run_once(guest) {
                Ok(output) => output,
                Err(error) => return (log, Err(error)),
            };
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            log.push_str(said.trim_end());
            if output.status.success() {
                break;
            }
            let is_lost = output.status.code() == Some(STOOD_STILL.into());
            if !is_lost || tries == TRIES || tells_a_failure(&said) {
                let error = anyhow::anyhow!("it ended with {}", output.status);
                return (log, Err(error));
            }
            say(format_args!(
                "\n.. {}: its host stands still, a fault of QEMU's; begins again",
                self.name
            ));
            log.push_str("\n-- its host stood still; once more:\n");
        }
        (log, Ok(()))
    }

    fn run_once(&self, guest: &Guest<'_>) -> Result<Output> {
        if let Some(saved) = self.saves.as_ref().filter(|path| path.exists()) {
            std::fs::remove_file(saved).with_context(|| format!("removing {}", saved.display()))?;
        }
        let command = guest.command(self.host, self.program)?;
        command.args(&self.arguments).output()
    }
}

/// Whether a test failed before its host was lost: no other try makes up for that.
fn tells_a_failure(said: &str) -> bool {
    // As libtest says it, and the conformance cases.
    let tells = |line: &str| line.ends_with("FAILED") || line.contains(": FAIL: ");
    said.lines().any(tells)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_none_of_qemus() {
        assert!(tells_a_failure(
            "test a ... ok\ntest b ... FAILED\ntest c ..."
        ));
        assert!(tells_a_failure(
            "a_case  FAIL\n    microvm: FAIL: no answer\n"
        ));
        assert!(!tells_a_failure("test a ... ok\ntest b ..."));
    }
}
