//! `session exec`.

use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use axocoatl_isolation::sessions::{
    Exited, Input, Lifetime, Process, ProcessEvent, Run, Session, Status,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout_at};

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
/// How much longer than the time limit an agent may take to say how the command ended. It keeps the
/// limit; one that does not keeps nobody.
const GRACE: Duration = Duration::from_secs(5);

/// The agent of a session is silent past the time limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the session's agent has not said how the command ended, {GRACE:?} after its time limit of {}; \
     the command may still run: `axocoatl session ps {called}` lists what does, \
     `axocoatl session stop {called}` ends it",
    humantime::format_duration(*.limit)
)]
struct Silent {
    called: String,
    limit: Duration,
}

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
    let deadline = Deadline::of(&session, arguments.timeout);
    if arguments.detach {
        let process = deadline.hold(session.run(run.in_background())).await??;
        let id = process.id().0;
        printer.result(|| json!({ "process": id }), || id.to_string());
        return Ok(Exit::Success);
    }
    run.input = !arguments.no_input;
    run.lifetime = Lifetime::Attached;
    let with_input = run.input;
    let process = deadline.hold(session.run(run)).await??;
    follow(&session, process, with_input, deadline, printer).await
}

/// Our own end of a time limit.
struct Deadline {
    called: String,
    limit: Option<(Duration, Instant)>,
}

impl Deadline {
    fn of(session: &Session, limit: Option<Duration>) -> Self {
        Self {
            called: session.record().called().to_owned(),
            // A limit that no clock reaches is none.
            limit: limit.and_then(|limit| {
                let end = Instant::now().checked_add(limit)?.checked_add(GRACE)?;
                Some((limit, end))
            }),
        }
    }

    /// What the agent is asked, if it answers by then.
    async fn hold<T>(&self, asked: impl Future<Output = T>) -> Result<T, Failed> {
        match self.limit {
            None => Ok(asked.await),
            Some((_, end)) => timeout_at(end, asked).await.map_err(|_| self.over()),
        }
    }

    /// Until then.
    async fn come(&self) -> Failed {
        match self.limit {
            None => std::future::pending().await,
            Some((_, end)) => sleep_until(end).await,
        }
        self.over()
    }

    /// Puts it off by what was not the agent's time.
    fn put_off(&mut self, time: Duration) {
        if let Some((_, end)) = &mut self.limit {
            *end += time;
        }
    }

    fn over(&self) -> Failed {
        Failed::TimedOut(Box::new(Silent {
            called: self.called.clone(),
            limit: self.limit.map_or(Duration::ZERO, |(limit, _)| limit),
        }))
    }
}

/// Until the process ends. Signals that ask us to end are the process's, but for a second interrupt:
/// that is for us, whatever becomes of the process.
async fn follow(
    session: &Session,
    process: Process,
    with_input: bool,
    mut deadline: Deadline,
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
    // Beside everything else, which an agent that does not answer must not hold up. One that has ended
    // just now hears nothing.
    let pass_on = |signal| {
        let session = session.clone();
        tokio::spawn(async move { drop(session.signal(id, signal).await) });
    };
    let mut interrupted = false;
    loop {
        tokio::select! {
            event = output.next() => match event? {
                Some(ProcessEvent::Exited(exited)) => {
                    if let Some(told) = streams.answer(ended(id.0, &exited)) {
                        printer.line(&told.to_string());
                    }
                    return Ok(exit(&exited));
                }
                Some(event) => {
                    let began = Instant::now();
                    streams.show(&event)?;
                    // Whoever reads our output may take their time.
                    deadline.put_off(began.elapsed());
                }
                None => return Ok(Exit::Failed),
            },
            over = deadline.come() => return Err(over),
            () = &mut feeding, if !fed => fed = true,
            _ = interrupts.recv() => {
                if std::mem::replace(&mut interrupted, true) {
                    printer.note("interrupted twice: left, and the command ends with its connection");
                    return Ok(Exit::Interrupted);
                }
                pass_on(SIGINT);
            }
            _ = terminations.recv() => pass_on(SIGTERM),
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

fn ended(id: u64, exited: &Exited) -> serde_json::Value {
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
