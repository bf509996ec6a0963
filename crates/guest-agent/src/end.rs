//! The end of everything that runs here.

use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Signal, getpid};
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::reap::{Children, reap};

/// How long the end of killed processes is waited for. Only one that the kernel holds takes longer.
const KILLED: Duration = Duration::from_secs(2);

/// How long clients may take to hear of it.
const TOLD: Duration = Duration::from_millis(500);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Ends all processes: as PID 1 really all, otherwise those that it started.
pub(crate) async fn all(agent: &Rc<Agent>, grace: Duration) {
    agent.tool.clear();
    for (signal, time) in [(Signal::TERM, grace), (Signal::KILL, KILLED)] {
        if reap(agent) == Children::None {
            break;
        }
        signal_all(agent, signal);
        until(time, || reap(agent) == Children::None).await;
    }
    until(TOLD, || agent.connections() == 0).await;
}

fn signal_all(agent: &Agent, signal: Signal) {
    if getpid().is_init() {
        kill_everything(signal);
    } else {
        agent.table.signal_all(signal);
    }
}

#[expect(unsafe_code, reason = "rustix has no way to say every process")]
fn kill_everything(signal: Signal) {
    // SAFETY: takes two numbers. Everything but us is what a PID 1 may signal.
    unsafe { libc::kill(-1, signal.as_raw()) };
}

async fn until(most: Duration, done: impl Fn() -> bool) {
    let due = Instant::now() + most;
    while !done() && Instant::now() < due {
        sleep(LOOK).await;
    }
}
