//! `session ps`, `logs` and `kill`.

use axocoatl_isolation::sessions::{Position, ProcessId, ProcessInfo, ProcessState, Status};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::streams::Streams;
use super::{Failed, session};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn list(name: &str, printer: &Printer) -> Result<Exit, Failed> {
    let processes = session(name).await?.processes().await?;
    printer.result(
        || json!({ "processes": processes.iter().map(json).collect::<Vec<_>>() }),
        || {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_header(["PROCESS", "PID", "STATE", "TERMINAL", "OUTPUT", "COMMAND"]);
            for info in &processes {
                table.add_row([
                    info.process.to_string(),
                    info.pid.to_string(),
                    state(info),
                    if info.terminal { "yes" } else { "no" }.to_owned(),
                    format!("{} bytes", info.newest),
                    command(info),
                ]);
            }
            table.trim_fmt()
        },
    );
    Ok(Exit::Success)
}

fn command(info: &ProcessInfo) -> String {
    let words: Vec<_> = info
        .arguments
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    words.join(" ").replace(['\n', '\t'], " ")
}

fn state(info: &ProcessInfo) -> String {
    match info.state {
        ProcessState::Running => "running".to_owned(),
        ProcessState::Exited(exited) => match exited.status {
            Status::Code(code) => format!("exited {code}"),
            Status::Signal(signal) => format!("signal {signal}"),
        },
    }
}

fn json(info: &ProcessInfo) -> Value {
    let (exit_code, signal) = match info.state {
        ProcessState::Running => (None, None),
        ProcessState::Exited(exited) => match exited.status {
            Status::Code(code) => (Some(code), None),
            Status::Signal(signal) => (None, Some(signal)),
        },
    };
    json!({
        "process": info.process.0,
        "pid": info.pid,
        "running": info.state == ProcessState::Running,
        "exit_code": exit_code,
        "signal": signal,
        "terminal": info.terminal,
        "started_millis": info.started_millis,
        "command": info.arguments.iter().map(|a| String::from_utf8_lossy(a)).collect::<Vec<_>>(),
        "output_oldest": info.oldest,
        "output_newest": info.newest,
    })
}

/// The process's own output, on our own streams.
pub(super) async fn logs(arguments: args::Logs, printer: &Printer) -> Result<Exit, Failed> {
    let agent = session(&arguments.session).await?.agent()?;
    let process = agent
        .attach(axocoatl_isolation::sessions::Attach {
            process: ProcessId(arguments.process),
            from: Position::Offset(arguments.from),
            follow: arguments.follow,
            steer: false,
            lossless: false,
        })
        .await?;
    let lost = process.lost();
    if lost > 0 {
        printer.note(&format!("{lost} bytes before this are no longer kept"));
    }
    let (mut output, _input) = process.split();
    let mut streams = Streams::new(printer);
    while let Some(event) = output.next().await? {
        streams.show(&event)?;
    }
    if let Some(told) = streams.answer(json!({"process": arguments.process, "lost": lost})) {
        printer.line(&told.to_string());
    }
    Ok(Exit::Success)
}

pub(super) async fn kill(
    name: &str,
    process: u64,
    signal: i32,
    printer: &Printer,
) -> Result<Exit, Failed> {
    session(name)
        .await?
        .signal(ProcessId(process), signal)
        .await?;
    printer.result(
        || json!({"process": process, "signal": signal}),
        || format!("signal {signal} sent to process {process}"),
    );
    Ok(Exit::Success)
}
