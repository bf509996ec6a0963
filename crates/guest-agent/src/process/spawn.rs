//! Starting a process with nothing of ours but what it was given.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use axo_guest_proto::{Code, Failure, Kind, Limits, Start, User};
use rustix::fs::{Gid, Mode, OFlags, Uid, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Resource, Rlimit, fchdir, getegid, geteuid, ioctl_tiocsctty, setrlimit, setsid,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::io::unix::AsyncFd;

use super::terminal;
use crate::event_loop::register;
use crate::surroundings::Surroundings;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process that runs, and our ends of its streams, all non-blocking.
pub(super) struct Spawned {
    pub(super) pid: i32,
    pub(super) ends: Ends,
}

/// Our ends of the streams of a process.
#[derive(Default)]
pub(super) struct Ends {
    /// What it writes, each as what it is told.
    pub(super) outputs: Vec<(Kind, AsyncFd<OwnedFd>)>,
    /// What it reads, unless that is its terminal.
    pub(super) input: Option<AsyncFd<OwnedFd>>,
    pub(super) terminal: Option<AsyncFd<OwnedFd>>,
}

pub(super) fn spawn(start: &Start, surroundings: &Surroundings) -> Result<Spawned, Failure> {
    let directory = directory(&start.directory)?;
    let mut streams = Streams::open(start).map_err(|e| {
        let what = start.terminal.map_or("pipes", |_| "a terminal");
        failed(Code::Limit, &format!("opening {what}"), &e)
    })?;
    let mut command = command(start)?;
    let [stdin, stdout, stderr] = streams.theirs.each_mut().map(Option::take);
    command
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(stdout.map_or_else(Stdio::null, Stdio::from))
        .stderr(stderr.map_or_else(Stdio::null, Stdio::from));
    let child = Child::new(start, surroundings, directory);
    before_exec(&mut command, move || child.become_it());
    let started = command.spawn().map_err(|e| not_started(start, &e))?;
    Ok(Spawned {
        pid: started.id().try_into().unwrap_or(0),
        ends: streams.ours,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "starting processes is what this module is for"
)]
fn command(start: &Start) -> Result<Command, Failure> {
    let (program, arguments) = start
        .arguments
        .split_first()
        .ok_or_else(|| Failure::new(Code::Invalid, None, "a process without a program"))?;
    let mut command = Command::new(OsStr::from_bytes(program));
    command
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .env("HOME", home(start.user.as_ref()))
        .envs(
            start
                .environment
                .iter()
                .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))),
        );
    Ok(command)
}

fn home(user: Option<&User>) -> &'static str {
    match user.map_or(geteuid().as_raw(), |user| user.uid) {
        0 => "/root",
        _ => "/",
    }
}

fn directory(path: &[u8]) -> Result<OwnedFd, Failure> {
    let path: &[u8] = if path.is_empty() { b"/" } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
        let doing = format!("entering {}", String::from_utf8_lossy(path));
        failed(Code::NoDirectory, &doing, &e.into())
    })
}

/// The ends of its streams.
#[derive(Default)]
struct Streams {
    theirs: [Option<OwnedFd>; 3],
    ours: Ends,
}

impl Streams {
    fn open(start: &Start) -> io::Result<Self> {
        let mut streams = Self::default();
        let Self { theirs, ours } = &mut streams;
        if let Some(size) = start.terminal {
            let (our_end, their_end) = terminal::open(size)?;
            let again = register(our_end.try_clone()?)?;
            ours.outputs.push((Kind::Output, again));
            ours.terminal = Some(register(our_end)?);
            let [stdin, stdout] = [their_end.try_clone()?, their_end.try_clone()?];
            *theirs = [Some(stdin), Some(stdout), Some(their_end)];
            return Ok(streams);
        }
        for (place, kind) in [(1, Kind::Output), (2, Kind::Error)] {
            let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
            ours.outputs.push((kind, non_blocking(reading)?));
            theirs[place] = Some(writing);
        }
        if start.input {
            let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
            ours.input = Some(non_blocking(writing)?);
            theirs[0] = Some(reading);
        }
        Ok(streams)
    }
}

/// An end of ours: the other end of the pipe stays as programs expect it.
fn non_blocking(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    fcntl_setfl(&end, OFlags::NONBLOCK)?;
    register(end)
}

/// What the new process does before it executes the program. It may only make system calls.
struct Child {
    terminal: bool,
    user: Option<(Vec<Gid>, Gid, Uid)>,
    directory: OwnedFd,
    limits: Vec<(Resource, Rlimit)>,
}

/// Which step failed. `Command` brings one number from the new process: the errno, with this above
/// it.
#[derive(Clone, Copy)]
enum Step {
    Session = 1,
    Limits,
    User,
    Directory,
}

const STEP_SHIFT: u32 = 16;

impl Child {
    fn new(start: &Start, surroundings: &Surroundings, directory: OwnedFd) -> Self {
        let user = start.user.as_ref().filter(|user| !is_us(user)).map(|user| {
            let groups = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            (groups, Gid::from_raw(user.gid), Uid::from_raw(user.uid))
        });
        Self {
            terminal: start.terminal.is_some(),
            user,
            directory,
            limits: limits(&start.limits, surroundings),
        }
    }

    fn become_it(&self) -> io::Result<()> {
        setsid().map_err(at(Step::Session))?;
        if self.terminal {
            ioctl_tiocsctty(rustix::stdio::stdin()).map_err(at(Step::Session))?;
        }
        for (resource, limit) in &self.limits {
            setrlimit(*resource, *limit).map_err(at(Step::Limits))?;
        }
        if let Some((groups, gid, uid)) = &self.user {
            set_thread_groups(groups).map_err(at(Step::User))?;
            set_thread_res_gid(*gid, *gid, *gid).map_err(at(Step::User))?;
            set_thread_res_uid(*uid, *uid, *uid).map_err(at(Step::User))?;
        }
        // As that user: one who may not enter it does not.
        fchdir(self.directory.as_fd()).map_err(at(Step::Directory))
    }
}

#[expect(
    unsafe_code,
    reason = "there is no safe way to act between fork and exec"
)]
fn before_exec(command: &mut Command, act: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: `act` is `Child::become_it`, which makes system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(act) };
}

fn at(step: Step) -> impl FnOnce(rustix::io::Errno) -> io::Error {
    move |errno| io::Error::from_raw_os_error((step as i32) << STEP_SHIFT | errno.raw_os_error())
}

/// Nothing is to be changed, which needs no permission.
fn is_us(user: &User) -> bool {
    user.uid == geteuid().as_raw()
        && user.gid == getegid().as_raw()
        && !geteuid().is_root()
        && user.groups.is_empty()
}

fn limits(limits: &Limits, surroundings: &Surroundings) -> Vec<(Resource, Rlimit)> {
    let both = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    let files = limits.files.map_or(surroundings.files, both);
    let mut all = vec![(Resource::Nofile, files)];
    if let Some(seconds) = limits.cpu_seconds {
        // SIGXCPU, which can be caught, and a second later SIGKILL.
        let cpu = Rlimit {
            current: Some(seconds),
            maximum: Some(seconds.saturating_add(1)),
        };
        all.push((Resource::Cpu, cpu));
    }
    all.extend(limits.memory.map(|bytes| (Resource::As, both(bytes))));
    all.extend(limits.file_size.map(|bytes| (Resource::Fsize, both(bytes))));
    all
}

fn not_started(start: &Start, e: &io::Error) -> Failure {
    let told = e.raw_os_error().unwrap_or(0);
    let errno = told & ((1 << STEP_SHIFT) - 1);
    let program = String::from_utf8_lossy(start.arguments.first().map_or(&[][..], Vec::as_slice));
    let (code, doing) = match told >> STEP_SHIFT {
        step if step == Step::Session as i32 => (Code::Io, "making a session".into()),
        step if step == Step::Limits as i32 => (Code::Denied, "setting limits".into()),
        step if step == Step::User as i32 => {
            let uid = start.user.as_ref().map_or(0, |user| user.uid);
            (Code::NoUser, format!("becoming user {uid}"))
        }
        step if step == Step::Directory as i32 => {
            let directory = String::from_utf8_lossy(&start.directory);
            (Code::NoDirectory, format!("entering {directory}"))
        }
        _ => (code_of_exec(errno), format!("executing {program}")),
    };
    failed(code, &doing, &io::Error::from_raw_os_error(errno))
}

fn code_of_exec(errno: i32) -> Code {
    match errno {
        libc::ENOENT | libc::ENOTDIR => Code::NoProgram,
        libc::EACCES | libc::ENOEXEC | libc::EPERM | libc::EISDIR | libc::ELIBBAD => {
            Code::NotExecutable
        }
        libc::EAGAIN | libc::ENOMEM | libc::E2BIG | libc::EMFILE | libc::ENFILE => Code::Limit,
        _ => Code::Io,
    }
}

fn failed(code: Code, doing: &str, e: &io::Error) -> Failure {
    Failure::new(code, e.raw_os_error(), format!("{doing}: {e}"))
}
