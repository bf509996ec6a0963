//! Programs in hosts of their own, some at once: an emulated host does one thing at a time, mostly.

use std::path::Path;
use std::process::Output;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;

use super::Guest;
use crate::shell::say;
use crate::vmhost::STOOD_STILL;

/// As many at once, if there are as many processors.
const AT_ONCE: usize = 2;

/// So often a job is begun whose host QEMU loses: that is no fault of what it runs.
const TRIES: usize = 3;

/// A program that is run in a host.
pub(super) struct Job<'a> {
    pub(super) name: String,
    /// How `vmhost` is asked for the host.
    pub(super) host: &'a [&'a str],
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<String>,
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
        let mut tries = 1;
        loop {
            match self.run_once(guest) {
                Ok(output) if is_lost(&output) && tries < TRIES => {
                    say(format_args!(
                        "\n.. {}: its host stands still, a fault of QEMU's; begins again",
                        self.name
                    ));
                    tries += 1;
                }
                Ok(output) => {
                    let result = match output.status.success() {
                        true => Ok(()),
                        false => Err(anyhow::anyhow!("it ended with {}", output.status)),
                    };
                    let log = [output.stdout, output.stderr].concat();
                    let log = String::from_utf8_lossy(&log);
                    return (log.trim_end().to_owned(), result);
                }
                Err(error) => return (String::new(), Err(error)),
            }
        }
    }

    fn run_once(&self, guest: &Guest<'_>) -> Result<Output> {
        let command = guest.command(self.host, self.program)?;
        command.args(&self.arguments).output()
    }
}

fn is_lost(output: &Output) -> bool {
    output.status.code() == Some(STOOD_STILL.into())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
