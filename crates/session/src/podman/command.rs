//! Runs podman, and the programs that are installed and asked beside it. Nothing else in this crate
//! starts a process.
//!
//! Each is given its arguments as they are (there is no shell), an empty standard input, the
//! environment that [`Host::environment`] tells, and a deadline. What it writes is read up to a bound.
//! Dropping the future kills the program with its process group. Containers live on: their monitor
//! (`conmon`) is in a session of its own, so what is left of a run that was cut short has to be
//! removed by its name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::combination::Combination;
use super::error::PodmanError;
use super::excerpt::excerpt;
use super::group::Group;
use super::host::Host;

/// Most that is read of each stream, in bytes. `podman info` says about 5 KiB, `podman inspect` of one
/// container 10 KiB, a list of a thousand containers 1 MB.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// Of a program whose output is only looked at when it fails, such as a package manager: its end.
const KEPT_BYTES: usize = 64 << 10;
/// How long streams are read after a program ended: what it left in the background may hold them.
const LINGER: Duration = Duration::from_millis(500);
/// How long a program that is late may take to clear up after it was asked to end. Podman holds back
/// that signal while it makes a container.
const GRACE: Duration = Duration::from_secs(2);

/// Podman itself, with the global options that work on this host.
#[derive(Clone, Debug)]
pub struct Podman {
    host: Host,
    program: PathBuf,
    options: Vec<OsString>,
}

impl Podman {
    /// Podman as this host has it, without options.
    #[must_use]
    pub fn find(host: &Host) -> Option<Self> {
        Some(Self {
            host: host.clone(),
            program: host.find_podman()?,
            options: Vec::new(),
        })
    }

    /// The same with the global options of a combination. A container is to be asked for with the
    /// options that it was made with.
    #[must_use]
    pub fn with(&self, combination: &Combination) -> Self {
        Self {
            options: combination.global_options(),
            ..self.clone()
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs podman with these arguments to its end, whatever its status.
    ///
    /// # Errors
    /// If it does not start, is not done within `deadline`, or writes more than 1 MiB to a stream.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        deadline: Duration,
    ) -> Result<Output, PodmanError> {
        self.run_passing(arguments, deadline, None).await
    }

    /// The same, with a descriptor that podman finds as its first after the three streams. With
    /// `--preserve-fds 1`, `podman run` and `podman exec` hand it on to the container.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_passing<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        deadline: Duration,
        pass: Option<Passed>,
    ) -> Result<Output, PodmanError> {
        let call = Call {
            program: &self.program,
            options: self.options.clone(),
            arguments: arguments.into_iter().map(|a| a.as_ref().into()).collect(),
            environment: self.host.environment(),
            deadline,
            overflow: Overflow::Refuse,
            pass,
        };
        call.run().await
    }

    /// Runs podman with these arguments and reads the JSON that it answers.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if it fails, or its answer is not what is expected.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        arguments: impl IntoIterator<Item = &str>,
        deadline: Duration,
    ) -> Result<T, PodmanError> {
        self.run(arguments, deadline).await?.succeeded()?.json()
    }
}

/// Runs a program beside podman for its answer, such as `crun --version`.
pub(super) async fn ask_program(
    host: &Host,
    program: &Path,
    arguments: &[&str],
    deadline: Duration,
) -> Result<Output, PodmanError> {
    let call = Call {
        program,
        options: Vec::new(),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: host.environment(),
        deadline,
        overflow: Overflow::Refuse,
        pass: None,
    };
    call.run().await
}

/// Runs a program that changes the host, such as a package manager. The end of what it wrote is kept.
pub(super) async fn run_step(
    host: &Host,
    program: &Path,
    arguments: &[String],
    deadline: Duration,
) -> Result<Output, PodmanError> {
    let call = Call {
        program,
        options: Vec::new(),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: host.installers_environment(),
        deadline,
        overflow: Overflow::KeepEnd,
        pass: None,
    };
    call.run().await
}

/// What a program came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its status.
    pub status: ExitStatus,
    /// Its standard output. Foreign bytes.
    pub stdout: Vec<u8>,
    /// Its standard error. Foreign bytes.
    pub stderr: Vec<u8>,
    command: String,
}

impl Output {
    /// What it wrote to standard error, short and fit to be shown.
    #[must_use]
    pub fn said(&self) -> String {
        excerpt(&self.stderr)
    }

    /// The same, if it succeeded.
    ///
    /// # Errors
    /// [`PodmanError::Failed`] if not.
    pub fn succeeded(self) -> Result<Self, PodmanError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(PodmanError::Failed {
            status: self.status.to_string(),
            said: self.said(),
            command: self.command,
        })
    }

    /// Its standard output as JSON, which serde_json reads to a depth of 128.
    ///
    /// # Errors
    /// [`PodmanError::Answer`] if it is none, or not what is expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, PodmanError> {
        serde_json::from_slice(&self.stdout).map_err(|source| PodmanError::Answer {
            command: self.command.clone(),
            source,
        })
    }
}

/// What becomes of more output than there is room for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// The program is ended.
    Refuse,
    /// The end is kept.
    KeepEnd,
}

struct Call<'a> {
    program: &'a Path,
    /// Global ones, before the arguments.
    options: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    deadline: Duration,
    overflow: Overflow,
    pass: Option<Passed>,
}

impl Call<'_> {
    async fn run(&self) -> Result<Output, PodmanError> {
        let mut child = self.start().map_err(|source| PodmanError::Start {
            program: self.program.to_owned(),
            source,
        })?;
        let group = Group::of(&child);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let attended = tokio::time::timeout(
            self.deadline,
            attend(&mut child, self.overflow, &mut stdout, &mut stderr),
        );
        let outcome = match attended.await {
            Ok(Ok(Some(status))) => {
                // It is gone, and what it left in the background (a helper of its network) is meant to
                // live.
                group.disarm();
                Ok(Output {
                    status,
                    stdout,
                    stderr,
                    command: self.shown(),
                })
            }
            Ok(Ok(None)) => Err(PodmanError::Flood {
                command: self.shown(),
                limit: MAX_OUTPUT_BYTES,
            }),
            Ok(Err(source)) => Err(PodmanError::Attend {
                program: self.program.to_owned(),
                source,
            }),
            Err(_) => {
                group.ask_to_end();
                // Whether it heard or not, what remains of it is killed below.
                let _ = tokio::time::timeout(GRACE, child.wait()).await;
                let said = match excerpt(&stderr) {
                    said if said.is_empty() => said,
                    said => format!(": {said}"),
                };
                Err(PodmanError::Late {
                    command: self.shown(),
                    deadline: self.deadline,
                    said,
                })
            }
        };
        tracing::debug!(command = self.shown(), ok = outcome.is_ok(), "ran");
        outcome
    }

    /// The program's name and its first argument that is no option: enough to know what was tried.
    fn shown(&self) -> String {
        let name = self.program.file_stem().unwrap_or_default();
        let verb = self
            .arguments
            .iter()
            .find(|argument| !argument.to_string_lossy().starts_with('-'))
            .or(self.arguments.first());
        let verb = verb.map_or_else(String::new, |verb| format!(" {}", verb.to_string_lossy()));
        excerpt(format!("{}{verb}", name.to_string_lossy()).as_bytes())
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = command(self.program, &self.options, &self.arguments);
        command.envs(&self.environment).stdin(Stdio::null());
        confine(&mut command, self.pass.as_ref());
        let _occupied = occupy(self.pass.as_ref())?;
        command.spawn()
    }
}

/// Starts podman, to be spoken with over its streams.
pub(super) fn spawn<A: AsRef<OsStr>>(
    podman: &Podman,
    arguments: impl IntoIterator<Item = A>,
) -> std::io::Result<Child> {
    let mut command = command(&podman.program, &podman.options, arguments);
    command
        .envs(podman.host.environment())
        .stdin(Stdio::piped());
    confine(&mut command, None);
    command.spawn()
}

/// A program with its arguments, nothing of our environment, and its output heard here.
#[expect(
    clippy::disallowed_methods,
    reason = "starting podman, and what it is installed and proved with, is this module's job"
)]
fn command<A: AsRef<OsStr>>(
    program: &Path,
    options: &[OsString],
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(options)
        .args(arguments)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Takes the numbers up to the one that a passed descriptor gets, so that nothing of the library's own
/// is there when the program starts. They are given back when dropped.
#[cfg(unix)]
fn occupy(pass: Option<&Passed>) -> std::io::Result<Vec<std::fs::File>> {
    use std::os::fd::AsRawFd as _;
    let mut taken = Vec::new();
    while pass.is_some() {
        let file = std::fs::File::open("/dev/null")?;
        if file.as_raw_fd() > 3 {
            break;
        }
        taken.push(file);
    }
    Ok(taken)
}

#[cfg(not(unix))]
fn occupy(_: Option<&Passed>) -> std::io::Result<()> {
    Ok(())
}

/// A descriptor for a program.
#[cfg(unix)]
pub type Passed = std::os::fd::OwnedFd;
/// None is passed.
#[cfg(not(unix))]
pub type Passed = std::convert::Infallible;

/// Gives the program a process group of its own, a directory that stays, and no descriptor that the
/// embedding program left open but the one that is passed: podman hands descriptors on to what lives
/// in the background.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "inherited descriptors can only be closed between fork and exec"
)]
fn confine(command: &mut Command, pass: Option<&Passed>) {
    use std::os::fd::AsRawFd as _;
    /// The first after the streams.
    const FIRST: libc::c_int = 3;
    command.process_group(0).current_dir("/");
    let pass = pass.map(|pass| pass.as_raw_fd());
    // SAFETY: the closure makes system calls alone, which are async-signal-safe, and touches no memory.
    // Number 3 is not the pipe by which the library tells that exec failed: see [`occupy`].
    unsafe {
        command.pre_exec(move || {
            let closed = libc::syscall(
                libc::SYS_close_range,
                FIRST,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            if closed != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let kept = match pass {
                None => 0,
                Some(FIRST) => libc::fcntl(FIRST, libc::F_SETFD, 0),
                Some(other) => libc::dup2(other, FIRST),
            };
            match kept {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn confine(command: &mut Command, _: Option<&Passed>) {
    command.process_group(0).current_dir("/");
}

#[cfg(not(unix))]
fn confine(_: &mut Command, _: Option<&Passed>) {}

/// Reads both streams until the program has ended; nothing if it wrote too much.
async fn attend(
    child: &mut Child,
    overflow: Overflow,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> std::io::Result<Option<ExitStatus>> {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let read = async { tokio::try_join!(read(out, overflow, stdout), read(err, overflow, stderr)) };
    tokio::pin!(read);
    let mut status = None;
    loop {
        tokio::select! {
            whole = &mut read => {
                if let (Whole::Cut, _) | (_, Whole::Cut) = whole? {
                    return Ok(None);
                }
                return match status {
                    Some(status) => Ok(Some(status)),
                    None => child.wait().await.map(Some),
                };
            }
            ended = child.wait(), if status.is_none() => status = Some(ended?),
            () = tokio::time::sleep(LINGER), if status.is_some() => return Ok(status),
        }
    }
}

/// Whether a stream was read to its end.
enum Whole {
    Whole,
    Cut,
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    overflow: Overflow,
    into: &mut Vec<u8>,
) -> std::io::Result<Whole> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(Whole::Whole);
        }
        into.extend_from_slice(&buffer[..got]);
        match overflow {
            Overflow::Refuse if into.len() > MAX_OUTPUT_BYTES => return Ok(Whole::Cut),
            // Twice, so that moving bytes is rare.
            Overflow::KeepEnd if into.len() > 2 * KEPT_BYTES => {
                into.drain(..into.len() - KEPT_BYTES);
            }
            Overflow::Refuse | Overflow::KeepEnd => {}
        }
    }
}
