//! Answering on a socket.

use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use crate::agent::{Agent, End, Standing};
use crate::arguments::{Listen, Serve};
use crate::idle::Times;
use crate::listener::Listener;
use crate::tool::Slot;
use crate::{connection, end, idle, reap, say, surroundings};

/// Threads for files. They wait for disks, and hold nothing of a connection between its chunks.
const FILE_THREADS: usize = 4;

/// Their stack, in bytes: the deepest they go is one directory in another, without recursion.
const FILE_THREAD_STACK: usize = 256 << 10;

/// What a host that ends the sandbox gives its processes.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// The file mode mask of every process.
const MASK: Mode = Mode::WGRP.union(Mode::WOTH);

pub(crate) fn run(options: &Serve) -> ExitCode {
    let surroundings = surroundings::settle(match options.listen {
        Listen::Descriptor(number) => Some(number),
        Listen::Path(_) => None,
    });
    let slot = Slot::new(options.site.clone());
    let agent = Agent::new(surroundings, slot, Standing::Guest);
    let listen = || match &options.listen {
        Listen::Path(path) => Listener::bind(path),
        Listen::Descriptor(number) => Listener::given(*number),
    };
    match until_the_end(agent, listen, options.times) {
        Ok(why) => {
            say(&why);
            ExitCode::SUCCESS
        }
        Err(e) => {
            say(&format!("{}: {e}", options.listen));
            ExitCode::FAILURE
        }
    }
}

/// Serves until there is a reason to end, and answers it.
pub(crate) fn until_the_end(
    agent: Agent,
    listen: impl FnOnce() -> io::Result<Listener>,
    times: Times,
) -> io::Result<String> {
    umask(MASK);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .thread_stack_size(FILE_THREAD_STACK)
        .build()?;
    let served = LocalSet::new().block_on(&runtime, serve(Rc::new(agent), listen, times));
    // A thread that waits for a dead disk does not hold up the end.
    runtime.shutdown_background();
    served
}

async fn serve(
    agent: Rc<Agent>,
    listen: impl FnOnce() -> io::Result<Listener>,
    times: Times,
) -> io::Result<String> {
    let reaper = reap::Reaper::new()?;
    spawn_local(reaper.run(Rc::clone(&agent)));
    end_at_signals(&agent)?;
    let listener = listen()?;
    spawn_local(idle::watch(Rc::clone(&agent), times));
    let end = tokio::select! {
        failed = accept(&agent, &listener) => return Err(failed),
        end = agent.ending() => end,
    };
    drop(listener);
    end::all(&agent, end.grace).await;
    Ok(end.why)
}

fn end_at_signals(agent: &Rc<Agent>) -> io::Result<()> {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ] {
        let mut signals = signal(kind)?;
        let agent = Rc::clone(agent);
        spawn_local(async move {
            signals.recv().await;
            agent.end(End {
                why: format!("ended by {name}"),
                grace: TERM_GRACE,
            });
        });
    }
    Ok(())
}

/// Accepts for ever, or until the listener fails.
async fn accept(agent: &Rc<Agent>, listener: &Listener) -> io::Error {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                if let Some(open) = agent.admit() {
                    spawn_local(connection::serve(Rc::clone(agent), stream, open));
                }
            }
            Err(e) if is_passing(&e) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(e) => return e,
        }
    }
}

/// A peer that has gone, or descriptors and memory that will be free again.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EINTR
        )
    )
}
