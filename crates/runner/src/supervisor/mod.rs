//! One sandbox, from its making to its end. Reads top to bottom.
//!
//! ```text
//! (nothing) ──Prepare──▶ Sandbox ──Start──▶ Running ──▶ (ended)
//! ```
//!
//! Whatever happens, and wherever the way ends, [`Cgroup`]'s drop kills what is left in the
//! sandbox's cgroup and removes it, and the kernel takes the mount namespace with the process. If
//! this process itself is killed, the kernel kills the container's first process (parent death
//! signal), and with it every other of its pid namespace.

mod cgroup;
mod container;
mod fork;
mod launch;
mod mounts;
mod output;
mod stage;
mod step;
mod usage;
mod user_namespace;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use axo_runner::{Exited, PacketError, Prepare, Reply, Request, receive, send};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};

use cgroup::Cgroup;
use container::Container;
use stage::Staged;
use step::{Failed, Step as _};

/// Serves the engine on standard input until the sandbox has ended.
pub(crate) fn run() -> ExitCode {
    let Ok(socket) = take_standard_input() else {
        return ExitCode::FAILURE;
    };
    if let Err(failed) = serve(&socket) {
        let reply = Reply::Failed {
            doing: failed.doing,
            why: failed.why,
            of_tool: failed.of_tool,
        };
        // If the engine is gone, nobody wants to know.
        let _ = send(&socket, &reply, &[]);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn serve(socket: &OwnedFd) -> Result<(), Failed> {
    let Some((Request::Prepare(prepare), descriptors)) = hear(socket)? else {
        return Ok(());
    };
    let sandbox = Sandbox::prepare(*prepare, descriptors, socket)?;
    tell(socket, &Reply::Prepared, &[sandbox.staged.input.as_fd()])?;

    // A container waits for its tool's call: for microseconds, or for hours in a warm pool.
    let launch = match hear(socket)? {
        Some((Request::Start(launch), _)) => launch,
        _ => return Ok(()),
    };
    // What making the container took is not the tool's.
    let before = sandbox.cgroup.usage();
    let running = sandbox.container.start(&launch)?;
    tell(socket, &Reply::Started, &[])?;

    wait_or_kill(socket, &running)?;
    // Read first: systemd removes a scope as soon as its last process is gone.
    let used = sandbox.cgroup.usage();
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

/// A container that waits to be started, and all that is its.
struct Sandbox {
    staged: Staged,
    container: Container,
    /// Last, so that it is dropped after the container was ended.
    cgroup: Cgroup,
}

impl Sandbox {
    fn prepare(
        prepare: Prepare,
        descriptors: Vec<OwnedFd>,
        engine: &OwnedFd,
    ) -> Result<Self, Failed> {
        let mut descriptors = descriptors.into_iter();
        let (Some(stdout), Some(stderr), Some(rootfs)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err(Failed::new("taking over descriptors", "some are missing"));
        };
        let binds: Vec<OwnedFd> = descriptors.collect();
        let reopen = |opened: &OwnedFd| mounts::reopen(opened).step("finding a directory again");

        // The cgroup is made first: as whom the engine runs, it may write there.
        let mut cgroup = Cgroup::make(&prepare.cgroup)?;
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
        let container =
            Container::create(&prepare, &staged, &users, &cgroup, [stdout, stderr], engine)?;
        cgroup.joined_by(container.pid(), &prepare.id)?;
        Ok(Self {
            staged,
            container,
            cgroup,
        })
    }
}

/// Waits for the end of the tool; ends it when the engine says so, or is gone.
fn wait_or_kill(socket: &OwnedFd, running: &container::Running<'_>) -> Result<(), Failed> {
    let mut listens = true;
    loop {
        let ended = running.pidfd();
        let mut waits = vec![PollFd::new(&ended, PollFlags::IN)];
        if listens {
            waits.push(PollFd::new(socket, PollFlags::IN));
        }
        match poll(&mut waits, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).step("waiting for the tool"),
        }
        if !waits[0].revents().is_empty() {
            return Ok(());
        }
        if waits
            .get(1)
            .is_some_and(|socket| !socket.revents().is_empty())
        {
            // A request to kill, a closed socket, or nonsense: each ends the tool.
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
    close_all_but(&socket);
    // The terminal's Ctrl-C is for the engine: it closes the socket when it has ended.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // The engine's working directory is not kept busy.
    rustix::process::chdir("/")?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "no safe function closes a range of descriptors")]
fn close_all_but(socket: &OwnedFd) {
    use std::os::fd::AsRawFd as _;
    let socket = socket.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, socket - 1), (socket + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: this process has just begun and owns no other descriptor above standard error.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}
