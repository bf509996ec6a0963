//! From the streams of a process into its output, for as long as anybody writes to them.
//!
//! A stream that always has more does not keep the thread: every read costs of the task's budget.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use axo_guest_proto::Kind;
use rustix::io::retry_on_intr;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;

use super::table::Process;
use crate::agent::Agent;

/// Most bytes of one read: what a pipe holds by default.
const READ: usize = 64 << 10;

/// What is read of a stream after the end of the process before its output is taken for complete,
/// in bytes: no pipe of an ordinary user holds more. Its children may go on for ever.
const LEFT_BEHIND: usize = 1 << 20;

thread_local! {
    /// One for all, as nothing comes between a read and the use of what it brought.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// What a read came to.
enum Got {
    Bytes(usize),
    Nothing,
    End,
}

pub(super) async fn pump(
    agent: Rc<Agent>,
    process: Rc<Process>,
    kind: Kind,
    stream: AsyncFd<OwnedFd>,
) {
    if !until_it_ends(&agent, &process, kind, &stream).await {
        leave_behind(&agent, &process, kind, &stream).await;
        process.output.settle_one();
        process.close_input().await;
        descendants(&agent, &process, kind, &stream).await;
    } else {
        process.ended().await;
        process.output.settle_one();
    }
    agent.table.stream_closed(&process);
}

/// Whether the stream ended before the process did.
async fn until_it_ends(
    agent: &Agent,
    process: &Process,
    kind: Kind,
    stream: &AsyncFd<OwnedFd>,
) -> bool {
    loop {
        consume_budget().await;
        let step = async {
            let room = process.output.room(READ).await;
            let mut ready = stream.readable().await?;
            Ok::<_, io::Error>(
                ready
                    .try_io(
                        |stream| match read(agent, process, kind, stream.get_ref(), room) {
                            Got::Nothing => Err(io::ErrorKind::WouldBlock.into()),
                            got => Ok(got),
                        },
                    )
                    .unwrap_or(Ok(Got::Nothing))
                    .unwrap_or(Got::End),
            )
        };
        tokio::select! {
            biased;
            () = process.ended() => return false,
            got = step => if matches!(got, Ok(Got::End) | Err(_)) {
                return true;
            },
        }
    }
}

/// What the process left in its stream.
async fn leave_behind(agent: &Agent, process: &Process, kind: Kind, stream: &AsyncFd<OwnedFd>) {
    let mut left = LEFT_BEHIND;
    while left > 0 {
        consume_budget().await;
        let room = process.output.room(READ).await;
        match read(agent, process, kind, stream.get_ref(), room) {
            Got::Bytes(bytes) => left = left.saturating_sub(bytes),
            Got::Nothing | Got::End => return,
        }
    }
}

/// What the descendants of a process that has ended write, until it is forgotten.
async fn descendants(agent: &Agent, process: &Process, kind: Kind, stream: &AsyncFd<OwnedFd>) {
    let reading = async {
        loop {
            consume_budget().await;
            let room = process.output.room(READ).await;
            let Ok(mut ready) = stream.readable().await else {
                return;
            };
            match read(agent, process, kind, stream.get_ref(), room) {
                Got::Bytes(_) => {}
                Got::Nothing => ready.clear_ready(),
                Got::End => return,
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = process.forgotten() => {}
    }
}

fn read(agent: &Agent, process: &Process, kind: Kind, stream: &OwnedFd, most: usize) -> Got {
    SCRATCH.with_borrow_mut(|scratch| {
        let room = &mut scratch[..most.min(READ)];
        match retry_on_intr(|| rustix::io::read(stream, &mut *room)) {
            // A terminal says EIO when nobody has it open any more.
            Ok(0) | Err(rustix::io::Errno::IO) => Got::End,
            Ok(bytes) => {
                process.output.push(kind, &scratch[..bytes]);
                agent.table.trim();
                Got::Bytes(bytes)
            }
            Err(rustix::io::Errno::AGAIN) => Got::Nothing,
            Err(_) => Got::End,
        }
    })
}
