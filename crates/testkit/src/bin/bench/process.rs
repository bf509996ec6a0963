//! Whole processes: run once to see what they print, or timed from start to end.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a process may take before it is killed: longer than any that works, on a busy machine.
const LONGEST: Timespec = Timespec {
    tv_sec: 10,
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

/// What `command` prints, with `input` on standard input.
pub(crate) fn printed(command: &mut Command, input: &Path) -> anyhow::Result<Vec<u8>> {
    let output = command
        .stdin(std::fs::File::open(input)?)
        .output()
        .with_context(|| starting(command))?;
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
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LONGEST))?;
    if ready == 0 {
        child.kill()?;
        child.wait()?;
        bail!("the process to be measured was killed after {} s", LONGEST.tv_sec);
    }
    Ok(child.wait()?)
}
