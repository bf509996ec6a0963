//! The compiler process: what runs in it.
//!
//! It reads code from standard input to its end, compiles it under limits of its own making, and
//! writes an answer to standard output: one byte, [`ANSWER_CODE`] or [`ANSWER_ERROR`], and then
//! compiled code or a sentence. It has an empty environment and opens nothing.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::code::{CodeKind, MAX_CODE_BYTES};
use crate::compile::compile;
use crate::engines::EngineKind;

/// First byte of an answer that is compiled code.
pub(crate) const ANSWER_CODE: u8 = b'C';
/// First byte of an answer that is a sentence about what is wrong with the code.
pub(crate) const ANSWER_ERROR: u8 = b'E';

/// Argument that asks for code that counts fuel.
pub(crate) const FUEL_ARGUMENT: &str = "--fuel";

/// Address space of the compiler, in bytes. A component of 18 MB takes under 2 GiB.
const MAX_MEMORY: u64 = 4 << 30;
/// Processor time of the compiler, in seconds, over all its threads.
const MAX_CPU_SECONDS: u64 = 300;
/// Open files of the compiler: its streams, and what the thread pool looks at.
const MAX_FILES: u64 = 32;

/// Runs the compiler process: call it as the whole of a program that [`crate::Compiler::Process`]
/// names, with the arguments after those given there.
///
/// It ends with status 0 after an answer, also when the code is bad.
#[must_use]
pub fn serve(arguments: &[String]) -> ExitCode {
    let fuel = arguments.iter().any(|argument| argument == FUEL_ARGUMENT);
    match confine()
        .and_then(|()| end_with_reader())
        .and_then(|()| answer(fuel))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Sets the limits of this process, before it reads a byte of code.
fn confine() -> io::Result<()> {
    let limits = [
        (Resource::As, MAX_MEMORY),
        (Resource::Cpu, MAX_CPU_SECONDS),
        (Resource::Nofile, MAX_FILES),
        // It writes no file: its answer goes to a pipe, which this limit does not cover.
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        let most = rustix::process::getrlimit(resource)
            .maximum
            .map_or(most, |hard| most.min(hard));
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )?;
    }
    #[cfg(target_os = "linux")]
    {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

/// Ends this process when nobody reads its answer any more: whoever asked has given up or died.
/// (The kernel's signal for a dead parent would not do: it follows the thread that started us.)
#[expect(clippy::exit, reason = "there is nobody left to answer")]
fn end_with_reader() -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let watch = move || {
        let stdout = io::stdout();
        // With no flags asked for, poll returns when the other end is closed, and not before.
        let _ = poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None);
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("reader-watch".into())
        .spawn(watch)?;
    Ok(())
}

fn answer(fuel: bool) -> io::Result<()> {
    let mut code = Vec::new();
    // One byte more than allowed, so that compile() sees that there was more.
    io::stdin()
        .lock()
        .take(MAX_CODE_BYTES as u64 + 1)
        .read_to_end(&mut code)?;
    let compiled =
        CodeKind::detect(&code).and_then(|kind| compile(EngineKind { code: kind, fuel }, &code));
    let (first, rest) = match &compiled {
        Ok(compiled) => (ANSWER_CODE, compiled.as_slice()),
        Err(problem) => (ANSWER_ERROR, problem.as_bytes()),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&[first])?;
    stdout.write_all(rest)?;
    stdout.flush()
}
