//! Runs a trusted command of the host.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use axo_core::{Finished, OutputFile, PlacedCall, RunError, Termination, Usage};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// How long the streams of a command that ended are still read: a child of its own may hold them.
const LINGER: Duration = Duration::from_millis(100);

/// Runs `argv` with the call's input on standard input, until it ends or meets a limit.
pub(super) async fn run(argv: &[String], call: &PlacedCall) -> Result<Finished, RunError> {
    let started = Instant::now();
    let mut child = start(argv, call).map_err(|source| RunError::Host {
        doing: format!("starting the command of tool {}", call.spec().name),
        path: argv.first().map(Into::into),
        fix: "check the command under [native] in policy.toml".into(),
        source: source.into(),
    })?;
    let group = Group::of(&child);
    let limit = call.limits().output.as_usize();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = tokio::time::timeout(
        call.limits().wall,
        attend(
            &mut child,
            call.input().text().as_bytes(),
            limit,
            &mut stdout,
            &mut stderr,
        ),
    )
    .await;
    // Whatever it started and left in its group ends with it.
    drop(group);
    let termination = match ended {
        Err(_) => Termination::TimedOut,
        Ok(Ok(End::OutputLimit)) => Termination::OutputLimit,
        Ok(Ok(End::Exited(status))) => match (status.code(), status.signal()) {
            (Some(code), _) => Termination::Exited(code),
            (None, signal) => Termination::Signaled(signal.unwrap_or_default()),
        },
        Ok(Err(source)) => {
            return Err(RunError::Host {
                doing: format!("attending the command of tool {}", call.spec().name),
                path: None,
                fix: "see `axocoatl doctor`".into(),
                source: source.into(),
            });
        }
    };
    Ok(Finished {
        termination,
        stdout,
        stderr,
        output_file: OutputFile::Absent,
        usage: Usage {
            wall: started.elapsed(),
            ..Usage::default()
        },
        digest: None,
    })
}

enum End {
    Exited(ExitStatus),
    OutputLimit,
}

#[expect(
    clippy::disallowed_methods,
    reason = "starting trusted commands is this module's job"
)]
#[expect(
    unsafe_code,
    reason = "inherited descriptors can only be closed between fork and exec"
)]
fn start(argv: &[String], call: &PlacedCall) -> std::io::Result<Child> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| std::io::Error::other("it is empty"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(call.environment())
        // There is no /tmp of the tool's own here, and that of the host is everybody's.
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: the closure makes one system call, which is async-signal-safe, and touches no memory.
    unsafe {
        command.pre_exec(|| {
            // What the embedding program has open without close-on-exec is none of the command's.
            let first = 3;
            match libc::syscall(
                libc::SYS_close_range,
                first,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            ) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command.spawn()
}

/// Feeds the command and reads what it writes, each stream up to `limit`.
async fn attend(
    child: &mut Child,
    input: &[u8],
    limit: usize,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> std::io::Result<End> {
    let (Some(mut stdin), Some(out), Some(err)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let feed = async move {
        // A command that does not read all of its input is within its rights.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        std::future::pending::<()>().await;
    };
    let read = async {
        tokio::join!(
            read_capped(out, limit, stdout),
            read_capped(err, limit, stderr)
        )
    };
    tokio::pin!(feed, read);
    let mut status = None;
    loop {
        tokio::select! {
            (out, err) = &mut read => {
                if out? || err? {
                    return Ok(End::OutputLimit);
                }
                let status = match status { Some(status) => status, None => child.wait().await? };
                return Ok(End::Exited(status));
            }
            ended = child.wait(), if status.is_none() => status = Some(ended?),
            () = tokio::time::sleep(LINGER), if status.is_some() => {
                return Ok(End::Exited(status.unwrap_or_default()));
            }
            () = &mut feed => {}
        }
    }
}

/// Reads to the end, or to one byte past `limit`; then the rest is not wanted and the answer is yes.
async fn read_capped(
    mut stream: impl AsyncRead + Unpin,
    limit: usize,
    into: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(false);
        }
        let room = limit.saturating_sub(into.len());
        into.extend_from_slice(&buffer[..got.min(room)]);
        if got > room {
            return Ok(true);
        }
    }
}

/// The process group of a command, which is killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails where nothing of the group is left, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
