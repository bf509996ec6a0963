//! Where code is compiled: the side that asks.

use std::path::PathBuf;
use std::process::Stdio;
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
    let mut answer = Vec::new();
    let mut stdout = stdout.take(MAX_COMPILED_BYTES as u64 + 1);
    let (read, ()) = tokio::join!(stdout.read_to_end(&mut answer), feed);
    read?;
    let status = child.wait().await?;
    Ok(read_answer(answer, status))
}

#[expect(
    clippy::disallowed_methods,
    reason = "starting the compiler process is this module's job"
)]
fn start(program: &PathBuf, arguments: &[String], kind: EngineKind) -> std::io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .args(kind.fuel.then_some(FUEL_ARGUMENT))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn read_answer(
    mut answer: Vec<u8>,
    status: std::process::ExitStatus,
) -> Result<Vec<u8>, CompileError> {
    if answer.len() > MAX_COMPILED_BYTES {
        return Err(CompileError::BadCode(format!(
            "its compiled code has more than {MAX_COMPILED_BYTES} bytes"
        )));
    }
    match answer.first() {
        Some(&ANSWER_CODE) if status.success() => {
            answer.remove(0);
            Ok(answer)
        }
        Some(&ANSWER_ERROR) if status.success() => {
            let problem = &answer[1..answer.len().min(MAX_PROBLEM_BYTES)];
            Err(CompileError::BadCode(
                String::from_utf8_lossy(problem).into_owned(),
            ))
        }
        _ => Err(CompileError::BadCode(format!(
            "the compiler process ended with {status}, most likely at its limit of memory or processor time"
        ))),
    }
}
