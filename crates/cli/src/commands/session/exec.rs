//! `session exec`.

use std::os::unix::ffi::OsStringExt as _;

use axocoatl_isolation::sessions::{
    Exited, Input, Lifetime, Process, ProcessEvent, Run, Session, Status,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::create::variables;
use super::streams::Streams;
use super::{Failed, session};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

/// Bytes of output that an agent retains of a process.
const RETAIN: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

pub(super) async fn run(arguments: args::Exec, printer: &Printer) -> Result<Exit, Failed> {
    let session = session(&arguments.session).await?;
    let mut run = Run::new(arguments.command.into_iter().map(|word| word.into_vec()));
    run.directory = arguments.dir.map(String::into_bytes);
    run.environment = variables(&arguments.env)?
        .into_iter()
        .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
        .collect();
    run.limits.wall_millis = arguments
        .timeout
        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    run.retain = arguments.retain.map(|size| size.bytes());
    if run.retain.is_some_and(|bytes| !RETAIN.contains(&bytes)) {
        return Err(Failed::command_line("--retain is 64 KiB to 64 MiB"));
    }
    if arguments.detach {
        let process = session.run(run.in_background()).await?;
        let id = process.id().0;
        printer.result(|| json!({ "process": id }), || id.to_string());
        return Ok(Exit::Success);
    }
    run.input = !arguments.no_input;
    run.lifetime = Lifetime::Attached;
    let with_input = run.input;
    let process = session.run(run).await?;
    follow(&session, process, with_input, printer).await
}

/// Until the process ends. Signals that ask us to end are the process's.
async fn follow(
    session: &Session,
    process: Process,
    with_input: bool,
    printer: &Printer,
) -> Result<Exit, Failed> {
    let terminal = |error: std::io::Error| Failed::Terminal(Box::new(error));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(terminal)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(terminal)?;
    let id = process.id();
    let (mut output, mut input) = process.split();
    // Beside the output: a process that writes while it reads takes no more input until it is heard.
    let mut feeding = Box::pin(feed(&mut input, with_input));
    let mut fed = false;
    let mut streams = Streams::new(printer);
    loop {
        tokio::select! {
            event = output.next() => match event? {
                Some(ProcessEvent::Exited(exited)) => {
                    if let Some((stdout, stderr)) = streams.kept() {
                        printer.line(&ended(id.0, &exited, &stdout, &stderr).to_string());
                    }
                    return Ok(exit(&exited));
                }
                Some(event) => streams.show(&event)?,
                None => return Ok(Exit::Failed),
            },
            () = &mut feeding, if !fed => fed = true,
            // Not behind the input, which may wait. One that has ended just now hears nothing.
            _ = interrupts.recv() => drop(session.signal(id, SIGINT).await),
            _ = terminations.recv() => drop(session.signal(id, SIGTERM).await),
        }
    }
}

/// Passes our input on, to its end. A process that no longer reads is not our failure.
async fn feed(input: &mut Input, with_input: bool) {
    if !with_input {
        return;
    }
    let mut typed = super::shell::read_stdin();
    while let Some(bytes) = typed.recv().await {
        if input.write(&bytes).await.is_err() {
            return;
        }
    }
    let _ = input.end().await;
}

fn ended(id: u64, exited: &Exited, stdout: &str, stderr: &str) -> serde_json::Value {
    let (exit_code, signal) = match exited.status {
        Status::Code(code) => (Some(code), None),
        Status::Signal(signal) => (None, Some(signal)),
    };
    json!({
        "process": id,
        "exit_code": exit_code,
        "signal": signal,
        "timed_out": exited.timed_out,
        "usage": {
            "wall_micros": exited.usage.wall_micros,
            "cpu_micros": exited.usage.cpu_micros,
            "peak_memory_bytes": exited.usage.peak_memory,
        },
        "stdout": stdout,
        "stderr": stderr,
    })
}

/// The process's status as ours.
pub(super) fn exit(exited: &Exited) -> Exit {
    match exited.status {
        _ if exited.timed_out => Exit::TimedOut,
        // A status that does not fit must not be cut down to success.
        Status::Code(code) => Exit::Tool(u8::try_from(code).unwrap_or(u8::MAX)),
        Status::Signal(signal) => Exit::Tool(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
    }
}
