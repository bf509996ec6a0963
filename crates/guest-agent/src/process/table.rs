//! The processes that are known.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use axo_guest_proto::{
    Code, Exited, Failure, Kind, Lifetime, ProcessId, ProcessInfo, Size, Start, State, Status,
    Usage, bounds,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::output::{Budget, Output};
use super::spawn::Spawned;
use super::terminal;

/// Most processes that run at once.
const MAX_RUNNING: usize = 4096;

/// How many that have ended are known. The oldest is forgotten for a new one.
const MAX_ENDED: usize = 256;

/// What processes write, each as what it is told.
type Outputs = Vec<(Kind, AsyncFd<OwnedFd>)>;

/// What a wait told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    pub(crate) status: Status,
    pub(crate) cpu_micros: u64,
    pub(crate) peak_memory: u64,
}

/// A process.
pub(crate) struct Process {
    pub(super) id: ProcessId,
    pub(super) pid: i32,
    label: Vec<u8>,
    arguments: Vec<Vec<u8>>,
    started: Instant,
    started_millis: u64,
    pub(super) lifetime: Lifetime,
    pub(super) output: Output,
    /// Whether it was started with input, be that closed by now.
    pub(super) takes_input: bool,
    /// Its standard input, if that is a pipe that is open.
    pub(super) input: Mutex<Option<AsyncFd<OwnedFd>>>,
    pub(super) terminal: Option<AsyncFd<OwnedFd>>,
    end: Cell<Option<Exited>>,
    timed_out: Cell<bool>,
    open_streams: Cell<usize>,
    /// Whether whoever it was for knows its end: nothing needs to be kept.
    pub(super) told: Cell<bool>,
    forgotten: Cell<bool>,
    changed: Notify,
}

impl Process {
    /// Its end, if it has ended.
    pub(super) fn end(&self) -> Option<Exited> {
        self.end.get()
    }

    /// Until it has ended.
    pub(super) async fn ended(&self) {
        while self.end.get().is_none() {
            self.changed.notified().await;
        }
    }

    /// Until nothing is to be known of it any more.
    pub(super) async fn forgotten(&self) {
        while !self.forgotten.get() {
            self.changed.notified().await;
        }
    }

    /// Nobody feeds what it left behind.
    pub(super) async fn close_input(&self) {
        self.input.lock().await.take();
    }

    /// Signals its process group, by a number from outside.
    pub(crate) fn signal_number(&self, number: i32) -> Result<(), Failure> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| Failure::new(Code::Invalid, None, "no such signal"))?;
        self.signal(signal)
    }

    /// Signals its process group. Its pid is its own as long as it was not reaped, and nothing reaps
    /// between the question and the signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        if self.end.get().is_some() {
            return Err(Failure::new(Code::Ended, None, "the process has ended"));
        }
        match Pid::from_raw(self.pid).map(|group| kill_process_group(group, signal)) {
            Some(Err(e)) => Err(Failure::new(
                Code::Denied,
                Some(e.raw_os_error()),
                format!("signalling the process: {e}"),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn kill(&self) {
        let _ = self.signal(Signal::KILL);
    }

    /// It took too long.
    pub(super) fn time_out(&self) {
        if self.end.get().is_none() {
            self.timed_out.set(true);
            self.kill();
        }
    }

    pub(crate) fn resize(&self, size: Size) -> Result<(), Failure> {
        let terminal = self
            .terminal
            .as_ref()
            .ok_or_else(|| Failure::new(Code::NoTerminal, None, "the process has no terminal"))?;
        terminal::resize(terminal.get_ref(), size)
            .map_err(|e| Failure::new(Code::Io, e.raw_os_error(), format!("resizing: {e}")))
    }

    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            process: self.id,
            pid: self.pid,
            label: self.label.clone(),
            arguments: self.arguments.clone(),
            started_millis: self.started_millis,
            terminal: self.terminal.is_some(),
            lifetime: self.lifetime,
            state: self.end.get().map_or(State::Running, State::Exited),
            oldest: self.output.oldest(),
            newest: self.output.newest(),
        }
    }

    fn reaped(&self, reaped: Reaped) {
        let wall = self.started.elapsed().as_micros();
        self.end.set(Some(Exited {
            status: reaped.status,
            usage: Usage {
                cpu_micros: reaped.cpu_micros,
                peak_memory: reaped.peak_memory,
                wall_micros: u64::try_from(wall).unwrap_or(u64::MAX),
            },
            timed_out: self.timed_out.get(),
        }));
        self.changed.notify_waiters();
    }
}

#[derive(Default)]
pub(crate) struct Table {
    last: Cell<u64>,
    all: RefCell<BTreeMap<ProcessId, Rc<Process>>>,
    /// Those that run, by pid.
    running: RefCell<HashMap<i32, Rc<Process>>>,
    /// Those that have ended, the oldest end first.
    ended: RefCell<VecDeque<ProcessId>>,
    budget: Budget,
}

impl Table {
    /// Whether there may be one more.
    pub(super) fn check_room(&self) -> Result<(), Failure> {
        if self.running() >= MAX_RUNNING {
            let why = format!("{MAX_RUNNING} processes run already");
            return Err(Failure::new(Code::Limit, None, why));
        }
        Ok(())
    }

    /// A process that was started, before anything can have reaped it. Its outputs are to be pumped.
    pub(super) fn insert(&self, start: Start, spawned: Spawned) -> (Rc<Process>, Outputs) {
        let id = ProcessId(self.last.get() + 1);
        self.last.set(id.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let Spawned { pid, ends } = spawned;
        let streams = ends.outputs.len();
        let process = Rc::new(Process {
            id,
            pid,
            label: start.label,
            arguments: shown(start.arguments),
            started: Instant::now(),
            started_millis: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0)),
            lifetime: start.lifetime,
            output: Output::new(start.retain, streams, self.budget.clone()),
            takes_input: ends.input.is_some() || ends.terminal.is_some(),
            input: Mutex::new(ends.input),
            terminal: ends.terminal,
            end: Cell::new(None),
            timed_out: Cell::new(false),
            open_streams: Cell::new(streams),
            told: Cell::new(false),
            forgotten: Cell::new(false),
            changed: Notify::new(),
        });
        self.all.borrow_mut().insert(id, Rc::clone(&process));
        self.running.borrow_mut().insert(pid, Rc::clone(&process));
        (process, ends.outputs)
    }

    pub(crate) fn find(&self, id: ProcessId) -> Result<Rc<Process>, Failure> {
        self.all
            .borrow()
            .get(&id)
            .cloned()
            .ok_or_else(|| Failure::new(Code::NoProcess, None, format!("no process {id} is known")))
    }

    /// A child has ended; it may be an orphan that we know nothing of.
    pub(crate) fn reaped(&self, pid: i32, reaped: Reaped) {
        let Some(process) = self.running.borrow_mut().remove(&pid) else {
            return;
        };
        process.reaped(reaped);
        self.ended.borrow_mut().push_back(process.id);
        while self.ended() > MAX_ENDED {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&self) {
        let oldest = self.ended.borrow().front().copied();
        if let Some(oldest) = oldest {
            self.forget(oldest);
        }
    }

    fn forget(&self, id: ProcessId) {
        self.ended.borrow_mut().retain(|ended| *ended != id);
        if let Some(process) = self.all.borrow_mut().remove(&id) {
            process.forgotten.set(true);
            process.changed.notify_waiters();
        }
    }

    /// Forgets a process that has ended.
    pub(crate) fn forget_ended(&self, id: ProcessId) -> Result<(), Failure> {
        let process = self.find(id)?;
        if process.end().is_none() {
            return Err(Failure::new(Code::Running, None, "the process still runs"));
        }
        self.forget(id);
        Ok(())
    }

    /// Forgets a process whose end is told if nothing more can come of it.
    pub(super) fn forget_if_over(&self, process: &Process) {
        if process.told.get() && process.open_streams.get() == 0 && process.end().is_some() {
            self.forget(process.id);
        }
    }

    pub(super) fn stream_closed(&self, process: &Process) {
        let open = process.open_streams.get().saturating_sub(1);
        process.open_streams.set(open);
        self.forget_if_over(process);
    }

    /// Gives up output when all together is too much: the most of whoever has the most.
    pub(super) fn trim(&self) {
        while self.budget.excess() > 0 {
            let all = self.all.borrow();
            let mut by_cost: Vec<_> = all.values().map(|p| (p.output.cost(), p)).collect();
            by_cost.sort_unstable_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            let excess = self.budget.excess();
            let given = by_cost
                .iter()
                .any(|(_, process)| process.output.give_up(excess) > 0);
            if !given {
                return;
            }
        }
    }

    pub(crate) fn signal_all(&self, signal: Signal) {
        for process in self.running.borrow().values() {
            let _ = process.signal(signal);
        }
    }

    pub(crate) fn infos(&self) -> Vec<ProcessInfo> {
        self.all.borrow().values().map(|p| p.info()).collect()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.borrow().len()
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.borrow().len()
    }

    /// Memory of the output of all.
    pub(crate) fn retained(&self) -> usize {
        self.budget.used()
    }
}

/// The first bytes of a command line.
fn shown(arguments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut room = bounds::MAX_SHOWN_BYTES;
    let mut shown = Vec::new();
    for mut argument in arguments {
        if room == 0 {
            break;
        }
        argument.truncate(room - 1);
        argument.shrink_to_fit();
        room -= argument.len() + 1;
        shown.push(argument);
    }
    shown
}
