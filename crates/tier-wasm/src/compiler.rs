//! Where code is compiled: the side that asks.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::compile::compile;
use crate::engines::EngineKind;
use crate::worker::{ANSWER_CODE, ANSWER_ERROR, FUEL_ARGUMENT};

/// Longest compilation, elapsed.
const MAX_COMPILE_TIME: Duration = Duration::from_secs(120);
/// Largest compiled code, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 30;
/// Longest sentence that is taken over from the compiler, in bytes.
const MAX_PROBLEM_BYTES: usize = 4 << 10;

/// Where the code of tools is compiled. Compiling reads hostile bytes, and can be made to take
/// time and memory out of proportion to them.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a process of its own, limited in memory, processor and elapsed time. `program` is started
    /// with `arguments` and more, an empty environment and only its three standard streams; its
    /// whole work must be [`crate::serve_compiler`].
    Process {
        /// The program.
        program: PathBuf,
        /// Arguments that make it serve as compiler.
        arguments: Vec<String>,
    },
    /// In this process: only size and elapsed time are bounded, and a compilation that is given up
    /// still runs to its end. For tools that are trusted not to attack the compiler.
    InProcess,
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The code is bad, or too much for the compiler's limits.
    #[error("{0}")]
    BadCode(String),
    /// The compiler could not be used.
    #[error("the compiler process {program} failed")]
    Process {
        program: PathBuf,
        source: std::io::Error,
    },
}

impl Compiler {
    /// Compiles `code` for engines of `kind`.
    pub(crate) async fn compile(
        &self,
        kind: EngineKind,
        code: Vec<u8>,
    ) -> Result<Vec<u8>, CompileError> {
        let work = async {
            match self {
                Self::InProcess => in_process(kind, code).await,
                Self::Process { program, arguments } => in_worker(program, arguments, kind, &code)
                    .await
                    .map_err(|source| CompileError::Process {
                        program: program.clone(),
                        source,
                    })?,
            }
        };
        let too_long =
            || CompileError::BadCode(format!("compiling it took more than {MAX_COMPILE_TIME:?}"));
        tokio::time::timeout(MAX_COMPILE_TIME, work)
            .await
            .unwrap_or_else(|_| Err(too_long()))
    }
}

async fn in_process(kind: EngineKind, code: Vec<u8>) -> Result<Vec<u8>, CompileError> {
    tokio::task::spawn_blocking(move || compile(kind, &code))
        .await
        .unwrap_or_else(|_| Err("the compiler panicked on it".into()))
        .map_err(CompileError::BadCode)
}

/// The outer error is the process's, the inner one the code's.
async fn in_worker(
    program: &PathBuf,
    arguments: &[String],
    kind: EngineKind,
    code: &[u8],
) -> std::io::Result<Result<Vec<u8>, CompileError>> {
    let mut child = start(program, arguments, kind)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let feed = async move {
        // A compiler that ends early says why in its answer or its status.
        let _ = stdin.write_all(code).await;
        drop(stdin);
    };
    // The first byte says what the rest is.
    let mut first = [0; 1];
    let mut rest = Vec::new();
    let mut stdout = stdout.take(MAX_COMPILED_BYTES as u64 + 1);
    let read = async {
        if stdout.read(&mut first).await? == 1 {
            stdout.read_to_end(&mut rest).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let (read, ()) = tokio::join!(read, feed);
    read?;
    let status = child.wait().await?;
    Ok(read_answer(first[0], rest, status))
}

#[expect(
    clippy::disallowed_methods,
    reason = "starting the compiler process is this module's job"
)]
#[expect(
    unsafe_code,
    reason = "inherited descriptors can only be closed between fork and exec"
)]
fn start(program: &PathBuf, arguments: &[String], kind: EngineKind) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(kind.fuel.then_some(FUEL_ARGUMENT))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // SAFETY: the closure makes one system call, which is async-signal-safe, and touches no memory.
    #[cfg(target_os = "linux")]
    unsafe {
        command.pre_exec(|| {
            // What this program has open without close-on-exec is none of the compiler's.
            let first = 3;
            let flag = libc::CLOSE_RANGE_CLOEXEC;
            match libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flag) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command.spawn()
}

fn read_answer(first: u8, rest: Vec<u8>, status: ExitStatus) -> Result<Vec<u8>, CompileError> {
    let bad = |problem| Err(CompileError::BadCode(problem));
    match first {
        _ if rest.len() >= MAX_COMPILED_BYTES => bad(format!(
            "its compiled code has more than {MAX_COMPILED_BYTES} bytes"
        )),
        ANSWER_CODE if status.success() => Ok(rest),
        ANSWER_ERROR if status.success() => {
            let problem = &rest[..rest.len().min(MAX_PROBLEM_BYTES)];
            bad(String::from_utf8_lossy(problem).into_owned())
        }
        _ => bad(format!(
            "the compiler process ended with {status}, most likely at its limit of memory or \
             processor time"
        )),
    }
}
