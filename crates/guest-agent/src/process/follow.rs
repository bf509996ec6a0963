//! A connection to a process: tells its output and end, takes its input and steering.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use axo_guest_proto::{
    Attach, Code, Failure, Kind, Lifetime, Message as _, Position, Reply, Start, Steering,
};
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, unconstrained};
use tokio::time::{sleep, timeout};

use super::output::Cursor;
use super::pump::pump;
use super::spawn::spawn;
use super::table::Process;
use super::terminal::END_OF_INPUT;
use crate::agent::Agent;
use crate::client::{Broken, Reader, Writer, invalid, malformed};

/// Output that is taken from a process for one write, in bytes.
const WRITE: usize = 64 << 10;

/// How often a connection that waits with input is looked at: nobody reads from it meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Starts a process, and follows it.
pub(crate) async fn start(
    agent: &Rc<Agent>,
    start: Start,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let follow = start.follow;
    let attached = start.lifetime == Lifetime::Attached;
    let process = begin(agent, start)?;
    // From here on, whatever ends this connection ends an attached process.
    let leash = Leash(attached.then_some(&process));
    // Before anything can be read: nothing of the output is lost.
    let cursor = follow.then(|| Cursor::new(&process.output, 0, true));
    writer.put(&Reply::Started {
        process: process.id,
        pid: process.pid,
    });
    if !follow && !attached {
        return Ok(writer.flush().await?);
    }
    let told = async {
        match &cursor {
            Some(cursor) => tell(&process, cursor, true, writer).await,
            None => {
                writer.flush().await?;
                process.ended().await;
                Ok(writer.send(&end_of(&process)).await?)
            }
        }
    };
    tokio::select! {
        biased;
        told = told => told?,
        // Or a process that writes without end, to somebody who reads, would keep us from hearing that
        // they want no more: what is told uses up the turn.
        broken = unconstrained(take(&process, attached, reader)) => return Err(broken),
    }
    leash.slip();
    if attached {
        process.told.set(true);
        agent.table.forget_if_over(&process);
    }
    Ok(())
}

/// Kills a process unless it slips off.
struct Leash<'a>(Option<&'a Rc<Process>>);

impl Leash<'_> {
    fn slip(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            process.kill();
        }
    }
}

fn begin(agent: &Rc<Agent>, start: Start) -> Result<Rc<Process>, Failure> {
    if agent.is_ending() {
        return Err(Failure::new(Code::Ending, None, "the sandbox is ending"));
    }
    agent.table.check_room()?;
    let wall = start.limits.wall_millis.map(Duration::from_millis);
    let spawned = spawn(&start, &agent.surroundings)?;
    let (process, outputs) = agent.table.insert(start, spawned);
    for (kind, stream) in outputs {
        let pump = pump(Rc::clone(agent), Rc::clone(&process), kind, stream);
        spawn_local(pump);
    }
    if let Some(wall) = wall {
        let process = Rc::clone(&process);
        spawn_local(async move {
            if timeout(wall, process.ended()).await.is_err() {
                process.time_out();
            }
        });
    }
    Ok(process)
}

/// Follows a process that somebody started.
pub(crate) async fn attach(
    agent: &Rc<Agent>,
    attach: &Attach,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let process = agent.table.find(attach.process)?;
    let (oldest, newest) = (process.output.oldest(), process.output.newest());
    let wanted = match attach.from {
        Position::Start => oldest,
        Position::Offset(offset) => offset.min(newest),
        Position::End => newest,
    };
    let offset = wanted.max(oldest);
    let cursor = Cursor::new(&process.output, offset, attach.lossless);
    writer.put(&Reply::Attached {
        info: Box::new(process.info()),
        offset,
        lost: offset - wanted,
    });
    let taken = async {
        if attach.steer {
            take(&process, false, reader).await
        } else {
            reader.closed().await
        }
    };
    tokio::select! {
        biased;
        told = tell(&process, &cursor, attach.follow, writer) => told,
        broken = unconstrained(taken) => Err(broken),
    }
}

/// Tells output: what there is now at least, what comes if it follows, and the end of a process that
/// has ended.
async fn tell(
    process: &Process,
    cursor: &Cursor<'_>,
    follow: bool,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let least = process.output.newest();
    loop {
        let news = process.output.news();
        let lost = cursor.lost();
        if lost > 0 {
            writer.put(&Reply::Gap { lost });
        }
        cursor.take(WRITE, writer.buffer());
        let settled = process.output.settled();
        if settled.is_some_and(|settled| cursor.at() >= settled.max(least)) {
            return Ok(writer.send(&end_of(process)).await?);
        }
        if !follow && settled.is_none() && cursor.at() >= least {
            return Ok(writer.send(&Reply::Done).await?);
        }
        if writer.buffer().is_empty() {
            news.await;
        } else {
            writer.flush().await?;
        }
    }
}

fn end_of(process: &Process) -> Reply {
    match process.end() {
        Some(exited) => Reply::Exited(exited),
        None => Reply::Failed(Failure::new(Code::Io, None, "the process has no end yet")),
    }
}

/// Takes input and steering until the client closes or errs.
async fn take(process: &Process, leashed: bool, reader: &mut Reader) -> Broken {
    loop {
        let (kind, payload) = match reader.next().await {
            Ok(frame) => frame,
            Err(broken) => return broken,
        };
        let taken = match kind {
            Kind::Input if process.takes_input => {
                let bytes = std::mem::take(payload);
                let fed = feed(process, &bytes, leashed, reader).await;
                reader.give_back(bytes);
                fed
            }
            Kind::Input => Err(invalid("the process has no input").into()),
            Kind::Control => match Steering::from_payload(payload) {
                // What comes too late, or to a process without a terminal, changes nothing.
                Ok(Steering::Resize(size)) => {
                    let _ = process.resize(size);
                    Ok(())
                }
                Ok(Steering::Signal(number)) => {
                    let _ = process.signal_number(number);
                    Ok(())
                }
                Err(e) => Err(malformed(e)),
            },
            _ => Err(invalid("no frame of a client").into()),
        };
        if let Err(broken) = taken {
            return broken;
        }
    }
}

/// Writes input, as fast as the process takes it. One that has ended or closed its input takes it
/// all.
async fn feed(
    process: &Process,
    bytes: &[u8],
    leashed: bool,
    reader: &Reader,
) -> Result<(), Broken> {
    let closed = async {
        loop {
            sleep(LOOK).await;
            if leashed && reader.has_closed() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = write_input(process, bytes) => Ok(()),
        () = process.ended() => Ok(()),
        () = closed => Err(Broken::Closed),
    }
}

async fn write_input(process: &Process, bytes: &[u8]) {
    // One frame after another, also of several clients.
    let mut input = process.input.lock().await;
    if let Some(terminal) = &process.terminal {
        let bytes = if bytes.is_empty() {
            END_OF_INPUT
        } else {
            bytes
        };
        let _ = write_all(terminal, bytes).await;
        return;
    }
    if let Some(pipe) = &*input
        && (bytes.is_empty() || write_all(pipe, bytes).await.is_err())
    {
        *input = None;
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = to.writable().await?;
        match ready.try_io(|to| Ok(rustix::io::write(to.get_ref(), bytes)?)) {
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(written) => bytes = &bytes[written?..],
            Err(_) => {}
        }
    }
    Ok(())
}
