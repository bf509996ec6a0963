//! The guest agent: the one program of ours inside a sandbox that outlives a call. It starts
//! processes, keeps their output, and handles files for the host, over a Unix socket; in a sandbox
//! whose first process it is, it is PID 1 as well. In a machine of its own it is all that there is
//! beside the kernel and the runner of containers: it makes the machine ready, listens on vsock, and
//! runs a tool in a container there.
//!
//! What it hears and answers stands in `axo-guest-proto`. On the inside:
//!
//! ```text
//! init/ ─▶ serve    as the first process of a machine: root, mounts, modules, disks
//! serve ─ accept ─▶ connection   one task each: hello, one request, then
//!   │                 ├─ process/   start, attach: follow.rs tells output, takes input
//!   │                 ├─ tool/      prepare, run: through a runner, with its socket
//!   │                 ├─ files/     in a few blocking threads, a chunk at a time
//!   │                 └─ metrics, renew, end
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
mod init;
mod listener;
mod metrics;
mod process;
mod reap;
mod renew;
mod serve;
mod surroundings;
mod tool;
mod vsock;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::Command;

fn main() -> ExitCode {
    match Command::parse(std::env::args_os()) {
        Ok(Command::Serve(options)) => serve::run(&options),
        Ok(Command::Init) => init::run(),
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
