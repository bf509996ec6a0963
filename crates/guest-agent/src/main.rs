//! The guest agent: the one program of ours inside a sandbox that outlives a call. It starts
//! processes, keeps their output, and handles files for the host, over a Unix socket; in a sandbox
//! whose first process it is, it is PID 1 as well.
//!
//! What it hears and answers stands in `axo-guest-proto`. On the inside:
//!
//! ```text
//! serve ─ accept ─▶ connection   one task each: hello, one request, then
//!   │                 ├─ process/   start, attach: follow.rs tells output, takes input
//!   │                 ├─ files/     in a few blocking threads, a chunk at a time
//!   │                 └─ metrics, end
//!   ├─ reap          every child of ours, and every orphan of a PID 1; statuses go to the table
//!   └─ idle          says when nobody has been there for too long
//! ```
//!
//! One thread does all but files, so a pid is never signalled after it was reaped: nothing comes
//! between looking at the table and the signal. Every queue is bounded by not reading what fills it.

mod agent;
mod arguments;
mod bridge;
mod client;
mod connection;
mod end;
mod event_loop;
mod files;
mod idle;
mod metrics;
mod process;
mod reap;
mod serve;
mod surroundings;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::Command;

fn main() -> ExitCode {
    match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => serve::run(&options),
        Ok(Command::Bridge { socket }) => bridge::run(&socket),
        Ok(Command::Say(line)) => said(writeln!(std::io::stdout(), "{line}")),
        Err(usage) => {
            say(&usage);
            ExitCode::from(2)
        }
    }
}

fn said(result: std::io::Result<()>) -> ExitCode {
    ExitCode::from(u8::from(result.is_err()))
}

/// One line on standard error, where the host looks when nothing else is left.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "axo-guest-agent: {line}");
}
