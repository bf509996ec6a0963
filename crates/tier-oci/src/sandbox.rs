//! The states of a sandbox, each made of the one before.
//!
//! ```text
//! Waiting::make ──▶ Waiting ──start──▶ Running ──attend──▶ Ended ──gone──▶ (nothing is left)
//! ```
//!
//! Dropped in any state, the sandbox ends: its runner sees the socket close.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use axo_runner::{Exited, Launch, Prepare, Reply, Request};

use crate::runner::{LeftBehind, Runner, RunnerError};
use crate::streams::{Stream, StreamEnd};

/// How long the streams of a tool that has ended are still read: what it wrote is in the pipes, and
/// nobody holds them any more.
const LINGER: Duration = Duration::from_secs(1);

/// A container that waits for a call.
pub(crate) struct Waiting {
    runner: Runner,
    input: File,
    stdout: Stream,
    stderr: Stream,
}

impl Waiting {
    /// Makes a sandbox of `prepare` with this root and these sources of its binds. `left_behind` is
    /// called if its runner leaves something of it, whenever that is.
    pub(crate) async fn make(
        prepare: Prepare,
        root: &OwnedFd,
        binds: &[BorrowedFd<'_>],
        left_behind: LeftBehind,
    ) -> Result<Self, RunnerError> {
        let runner = Runner::start(left_behind)?;
        let (stdout, their_stdout) = Stream::new().map_err(RunnerError::Start)?;
        let (stderr, their_stderr) = Stream::new().map_err(RunnerError::Start)?;
        let streams = [their_stdout.as_fd(), their_stderr.as_fd(), root.as_fd()];
        let descriptors = [&streams, binds].concat();
        runner
            .tell(&Request::Prepare(Box::new(prepare)), &descriptors)
            .await?;
        // Only the tool writes to its streams, so that they end with it.
        drop((their_stdout, their_stderr));
        let (reply, files) = runner.answer().await?;
        match (reply, files.into_iter().next()) {
            (Reply::Prepared, Some(input)) => Ok(Self {
                runner,
                input: input.into(),
                stdout,
                stderr,
            }),
            _ => Err(RunnerError::Confused),
        }
    }

    /// Whether its runner still lives, as far as can be told without waiting.
    pub(crate) fn lives(&self) -> bool {
        // A runner has nothing to say here but that something ended.
        self.runner.is_silent()
    }

    /// Hands over the input and starts the tool.
    pub(crate) async fn start(
        self,
        input: &[u8],
        launch: Launch,
        output_limit: usize,
    ) -> Result<Running, RunnerError> {
        let Self {
            runner,
            input: file,
            mut stdout,
            mut stderr,
        } = self;
        file.write_all_at(input, 0).map_err(RunnerError::Input)?;
        drop(file);
        stdout.limit(output_limit);
        stderr.limit(output_limit);
        // The answer comes when the tool runs already, and on a busy host late.
        let started = Instant::now();
        runner.tell(&Request::Start(launch), &[]).await?;
        match runner.answer().await? {
            (Reply::Started, _) => Ok(Running {
                runner,
                started,
                stdout,
                stderr,
            }),
            _ => Err(RunnerError::Confused),
        }
    }
}

/// A container whose tool runs.
pub(crate) struct Running {
    runner: Runner,
    started: Instant,
    stdout: Stream,
    stderr: Stream,
}

/// Why a tool was stopped by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Its time was over.
    Late,
    /// It wrote more than it may.
    Flooding,
}

/// How a tool ended.
pub(crate) struct Exit {
    /// What it was stopped for, if it was.
    pub(crate) stopped: Option<Stopped>,
    pub(crate) exited: Exited,
    /// How long it ran.
    pub(crate) wall: Duration,
    /// The output file, if the runner found one.
    pub(crate) output: Option<File>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Running {
    /// Reads what the tool writes until it ends, and ends it at its limits.
    pub(crate) async fn attend(self, wall: Duration) -> Result<(Exit, Ended), RunnerError> {
        let Self {
            runner,
            started,
            mut stdout,
            mut stderr,
        } = self;
        let (stopped, exited, output) = watch(&runner, &mut stdout, &mut stderr, wall).await?;
        let exit = Exit {
            stopped,
            exited,
            wall: started.elapsed(),
            output,
            stdout: stdout.into_kept(),
            stderr: stderr.into_kept(),
        };
        Ok((exit, Ended(runner)))
    }
}

async fn watch(
    runner: &Runner,
    stdout: &mut Stream,
    stderr: &mut Stream,
    wall: Duration,
) -> Result<(Option<Stopped>, Exited, Option<File>), RunnerError> {
    let mut read = Box::pin(async {
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let (stream, end) = tokio::select! {
                end = stdout.read(), if out_open => (&mut out_open, end),
                end = stderr.read(), if err_open => (&mut err_open, end),
            };
            // A pipe that cannot be read has nothing more for us.
            match end.unwrap_or(StreamEnd::Closed) {
                StreamEnd::Closed => *stream = false,
                StreamEnd::OverLimit => return StreamEnd::OverLimit,
            }
        }
        StreamEnd::Closed
    });
    let deadline = tokio::time::sleep(wall);
    tokio::pin!(deadline);
    let mut streams_open = true;
    let stopped = loop {
        tokio::select! {
            exited = runner.exited() => {
                let (exited, file) = exited?;
                // What the tool wrote last is still in the pipes.
                let end = if streams_open {
                    tokio::time::timeout(LINGER, read).await
                } else {
                    Ok(StreamEnd::Closed)
                };
                let flooded = matches!(end, Ok(StreamEnd::OverLimit));
                return Ok((flooded.then_some(Stopped::Flooding), exited, file));
            }
            end = &mut read, if streams_open => match end {
                StreamEnd::OverLimit => break Stopped::Flooding,
                StreamEnd::Closed => streams_open = false,
            },
            () = &mut deadline => break Stopped::Late,
        }
    };
    let late = matches!(stopped, Stopped::Late);
    let (exited, file) = runner.kill().await?;
    if late && streams_open {
        let _ = tokio::time::timeout(LINGER, read).await;
    }
    Ok((Some(stopped), exited, file))
}

/// A sandbox whose tool has ended, and whose runner is clearing up.
pub(crate) struct Ended(Runner);

impl Ended {
    /// Waits until nothing is left of it.
    pub(crate) async fn gone(self) -> Result<(), RunnerError> {
        self.0.closed().await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axo_runner::{Cgroup, RootAccess, Scratch};

    use super::*;
    use crate::host::UserHost;

    /// Without them an ordinary user's ids cannot be mapped, and there is no sandbox with fewer.
    #[tokio::test]
    async fn without_a_setuid_helper_that_works_there_is_no_sandbox() {
        let root = File::open("/").unwrap().into();
        for (newuidmap, newgidmap) in [
            ("/absent/newuidmap", "/absent/newgidmap"),
            ("/bin/false", "/bin/false"),
            ("/bin/true", "/bin/false"),
            // It says that it did, and has not.
            ("/bin/true", "/bin/true"),
        ] {
            let host = UserHost::Ranges {
                us: (1000, 1000),
                users: (100_000, 65_536),
                groups: (100_000, 65_536),
                newuidmap: newuidmap.into(),
                newgidmap: newgidmap.into(),
            };
            let prepare = Prepare {
                id: "axocoatl-without-helpers".into(),
                config: "{}".into(),
                seccomp: Vec::new(),
                users: host.users((65_534, 65_534), false),
                cgroup: Cgroup::Directories(Vec::new()),
                scratch: Scratch {
                    bytes: 1 << 20,
                    inodes: 100,
                },
                root: RootAccess::ReadOnly,
                listener: false,
                loopback: false,
                input_bytes: 1 << 10,
                files: 100,
                mount_points: Vec::new(),
                binds: Vec::new(),
            };
            let left_behind = LeftBehind {
                remove: Box::new(|| ()),
                endings: std::sync::Arc::default(),
            };
            let made = Waiting::make(prepare, &root, &[], left_behind).await;
            let Err(RunnerError::Failed { doing, why, .. }) = made else {
                panic!("{newuidmap}, {newgidmap}: {:?}", made.err());
            };
            println!("{newuidmap}, {newgidmap}: {doing}: {why}");
            let claims = Path::new(newgidmap).ends_with("true");
            assert!(
                claims || doing == "entering a user namespace",
                "{doing}: {why}"
            );
        }
    }
}
