//! One sandbox, from its making to its end. Reads top to bottom.
//!
//! ```text
//! (nothing) ──Prepare──▶ Sandbox ──Start──▶ Running ──▶ (ended)
//!           ──Machine──▶ machine::serve ──────────────▶ (ended)
//! ```
//!
//! Whatever happens, and wherever the way ends, [`Cgroup::remove`] kills what is left in the
//! sandbox's cgroup and removes it, and the kernel takes the mount namespace with the process. If
//! this process itself is killed, the kernel kills the container's first process (parent death
//! signal), and with it every other of its pid namespace.

mod cgroup;
mod container;
mod deadline;
mod descriptors;
mod fork;
mod launch;
mod loopback;
mod machine;
mod mounts;
mod namespace;
mod output;
mod priority;
mod process;
mod resources;
mod stage;
mod step;
mod usage;
mod user_namespace;

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use axo_runner::{Exited, LEFT_SOMETHING, PacketError, Prepare, Reply, Request, receive, send};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};

use cgroup::Cgroup;
use container::{Created, Streams};
use deadline::Deadline;
use descriptors::close_all_but;
use machine::Keeper;
use process::FirstProcess;
use stage::Staged;
use step::{Failed, Step as _};

/// How long making a container, or executing its tool, may take. A little longer than the engine
/// waits, which tells more.
const PREPARE_SECONDS: u32 = 90;

/// Serves the engine on standard input until the sandbox has ended.
pub(crate) fn run() -> ExitCode {
    let Ok(socket) = take_standard_input() else {
        return ExitCode::FAILURE;
    };
    let mut cgroup = Cgroup::default();
    let mut keeper = None;
    let served = serve(&socket, &mut cgroup, &mut keeper);
    // Everything else of the sandbox has ended by now.
    let removed = cgroup.remove();
    if let Some(keeper) = keeper {
        keeper.conclude(served.as_ref().err(), removed.is_ok());
    }
    if let Err(failed) = &served {
        let reply = Reply::Failed {
            doing: failed.doing.clone(),
            why: failed.why.clone(),
            fault: failed.fault,
        };
        // If the engine is gone, nobody wants to know.
        let _ = send(&socket, &reply, &[]);
    }
    match (removed, served) {
        // It is too late to say so in any other way.
        (Err(_), _) => ExitCode::from(LEFT_SOMETHING),
        (Ok(()), Err(_)) => ExitCode::FAILURE,
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
    }
}

fn serve(socket: &OwnedFd, cgroup: &mut Cgroup, keeper: &mut Option<Keeper>) -> Result<(), Failed> {
    let Some((request, descriptors)) = hear(socket)? else {
        return Ok(());
    };
    let deadline = Deadline::in_seconds(PREPARE_SECONDS);
    // Before the cgroup, which takes no process that is scheduled in real time.
    priority::give_up().step("giving up the engine's priority")?;
    match request {
        Request::Prepare(prepare) => {
            serve_container(*prepare, descriptors, socket, cgroup, deadline)
        }
        Request::Machine(prepare) => {
            machine::serve(*prepare, descriptors, socket, cgroup, deadline, keeper)
        }
        Request::Start(_) | Request::Kill | Request::Keep => Ok(()),
    }
}

fn serve_container(
    prepare: Prepare,
    descriptors: Vec<OwnedFd>,
    socket: &OwnedFd,
    cgroup: &mut Cgroup,
    deadline: Deadline,
) -> Result<(), Failed> {
    let sandbox = Sandbox::prepare(prepare, descriptors, socket, cgroup)?;
    drop(deadline);
    tell(socket, &Reply::Prepared, &[sandbox.staged.input.as_fd()])?;

    // A container waits for its tool's call: for microseconds, or for hours in a warm pool.
    let launch = match hear(socket)? {
        Some((Request::Start(launch), _)) => launch,
        _ => return Ok(()),
    };
    // What making the container took is not the tool's.
    let before = cgroup.usage();
    let deadline = Deadline::in_seconds(PREPARE_SECONDS);
    let running = sandbox.container.start(&launch)?;
    drop(deadline);
    tell(socket, &Reply::Started, &[])?;

    wait_or_kill(socket, running.process())?;
    // Read first: systemd removes a scope as soon as its last process is gone.
    let used = cgroup.usage();
    let status = running.reap()?;
    let output = output::open(&sandbox.staged)?;
    let exited = Exited {
        status,
        out_of_memory: used.out_of_memory,
        cpu_micros: used.cpu_since(&before),
        peak_memory: used.peak_memory,
        output: output.found(),
    };
    let file = output.file();
    let files: Vec<BorrowedFd<'_>> = file.iter().map(|file| file.as_fd()).collect();
    tell(socket, &Reply::Exited(exited), &files)
}

/// A container that waits to be started, and all that is its but its cgroup.
struct Sandbox {
    staged: Staged,
    container: Created,
    /// Keeps the container's mounts until the runner ends: taking them down is what the end of the
    /// first process would otherwise wait for.
    _mounts: Option<File>,
}

impl Sandbox {
    fn prepare(
        prepare: Prepare,
        descriptors: Vec<OwnedFd>,
        engine: &OwnedFd,
        cgroup: &mut Cgroup,
    ) -> Result<Self, Failed> {
        let mut descriptors = descriptors.into_iter();
        let (Some(stdout), Some(stderr), Some(rootfs)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err(Failed::new("taking over descriptors", "some are missing"));
        };
        let listener = match prepare.listener {
            true => Some(descriptors.next().ok_or_else(|| {
                Failed::new("taking over descriptors", "the listening socket is missing")
            })?),
            false => None,
        };
        let binds: Vec<OwnedFd> = descriptors.collect();
        let reopen = |opened: &OwnedFd| mounts::reopen(opened).step("finding a directory again");

        // The cgroup is made first: as whom the engine runs, it may write there.
        cgroup.make(&prepare.cgroup)?;
        let users = user_namespace::enter(&prepare.users)?;
        // Before the stage covers where they may lie.
        let (host_rootfs, host_binds) = (rootfs, binds);
        let rootfs = reopen(&host_rootfs)?;
        let binds = host_binds
            .iter()
            .map(reopen)
            .collect::<Result<Vec<_>, _>>()?;
        let staged = Staged::make(&prepare, &users, &rootfs, &binds)?;
        // What the engine handed over stays open no longer than it is needed.
        drop((rootfs, binds, host_rootfs, host_binds));
        cgroup.hide()?;
        let streams = Streams {
            output: [stdout, stderr],
            listener,
        };
        let container = Created::create(&prepare, &staged, &users, cgroup, streams, engine)?;
        cgroup.joined_by(container.pid(), &prepare.id)?;
        if prepare.loopback {
            loopback::bring_up(container.pid())?;
        }
        Ok(Self {
            _mounts: container.mounts(),
            staged,
            container,
        })
    }
}

/// Waits for the end of a sandbox; ends it when the engine says so, or is gone.
fn wait_or_kill(socket: &OwnedFd, running: &FirstProcess) -> Result<(), Failed> {
    let mut listens = true;
    loop {
        let ended = running.pidfd();
        let mut waits = vec![PollFd::new(&ended, PollFlags::IN)];
        if listens {
            waits.push(PollFd::new(socket, PollFlags::IN));
        }
        match poll(&mut waits, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).step("waiting for the end of the sandbox"),
        }
        if !waits[0].revents().is_empty() {
            return Ok(());
        }
        if waits
            .get(1)
            .is_some_and(|socket| !socket.revents().is_empty())
        {
            // A request to kill, a closed socket, or nonsense: each ends it.
            let _ = hear(socket);
            running.kill();
            listens = false;
        }
    }
}

/// The next request; `None` when the engine has closed the socket.
fn hear(socket: &OwnedFd) -> Result<Option<(Request, Vec<OwnedFd>)>, Failed> {
    loop {
        match receive(socket) {
            Ok(message) => return Ok(Some(message)),
            Err(PacketError::Closed) => return Ok(None),
            Err(PacketError::Io(rustix::io::Errno::INTR)) => {}
            Err(e) => return Err(e).step("reading a request"),
        }
    }
}

fn tell(socket: &OwnedFd, reply: &Reply, files: &[BorrowedFd<'_>]) -> Result<(), Failed> {
    send(socket, reply, files).step("answering the engine")
}

/// Makes the socket that came as standard input ours alone, and closes whatever else an embedding
/// program may have left open.
fn take_standard_input() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    close_all_but(Some(socket.as_fd()));
    // The terminal's Ctrl-C is for the engine: it closes the socket when it has ended.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // The engine's working directory is not kept busy.
    rustix::process::chdir("/")?;
    Ok(socket)
}
