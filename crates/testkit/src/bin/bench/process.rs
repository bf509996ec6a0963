//! Whole processes: run once to see what they print, or timed from start to end.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a process may take before it is killed: longer than any that works, on a busy machine.
const LONGEST: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// How long `command` takes from its start to its end, with `input` on standard input.
pub(crate) fn timed(command: &mut Command, input: &Path) -> anyhow::Result<Duration> {
    let command = command
        .stdin(std::fs::File::open(input)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| starting(command))?;
    let status = end_of(&mut child)?;
    let took = started.elapsed();
    ensure!(
        status.success(),
        "the process to be measured ended with {status}"
    );
    Ok(took)
}

/// The few words that `command` prints, with `input` on standard input.
pub(crate) fn printed(command: &mut Command, input: &Path) -> anyhow::Result<Vec<u8>> {
    let command = command
        .stdin(std::fs::File::open(input)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| starting(command))?;
    // What it prints is short, so that the pipes hold it.
    end_of(&mut child)?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

fn starting(command: &Command) -> String {
    format!("starting {}", command.get_program().display())
}

/// Waits for the end, but not for ever: a peer that hangs is killed, and that is an error.
fn end_of(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut ends = [PollFd::new(&pidfd, PollFlags::IN)];
    // The end of a child is also a signal, which Tokio catches.
    let ready = retry_on_intr(|| poll(&mut ends, Some(&LONGEST)))?;
    if ready == 0 {
        child.kill()?;
        child.wait()?;
        bail!(
            "the process to be measured was killed after {} s",
            LONGEST.tv_sec
        );
    }
    Ok(child.wait()?)
}
