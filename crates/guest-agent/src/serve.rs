//! Answering on a socket.

use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::Mode;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::process::umask;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use crate::agent::{Agent, End};
use crate::arguments::{Listen, Serve};
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
    umask(MASK);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .thread_stack_size(FILE_THREAD_STACK)
        .build();
    let served = runtime.and_then(|runtime| {
        let agent = Rc::new(Agent::new(surroundings));
        let served = LocalSet::new().block_on(&runtime, serve(agent, options));
        // A thread that waits for a dead disk does not hold up the end.
        runtime.shutdown_background();
        served
    });
    match served {
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

/// Serves until there is a reason to end, and says it.
async fn serve(agent: Rc<Agent>, options: &Serve) -> io::Result<String> {
    let reaper = reap::Reaper::new()?;
    spawn_local(reaper.run(Rc::clone(&agent)));
    end_at_signals(&agent)?;
    let socket = match &options.listen {
        Listen::Path(path) => Socket::bind(path)?,
        Listen::Descriptor(number) => Socket::given(*number)?,
    };
    spawn_local(idle::watch(Rc::clone(&agent), options.idle, options.total));
    let end = tokio::select! {
        failed = accept(&agent, &socket.listener) => return Err(failed),
        end = agent.ending() => end,
    };
    drop(socket);
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
async fn accept(agent: &Rc<Agent>, listener: &UnixListener) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
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

/// A listening socket. One that we made is removed with this.
struct Socket {
    listener: UnixListener,
    path: Option<PathBuf>,
}

impl Socket {
    /// Bound by another name first and renamed: whoever finds the socket can connect to it, nobody
    /// but our user, and one that a dead agent left is replaced.
    fn bind(path: &Path) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        umask(Mode::from_raw_mode(0o177));
        let listener = StdListener::bind(&fresh);
        umask(MASK);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        if let Err(e) = fs::rename(&fresh, path) {
            let _ = fs::remove_file(&fresh);
            return Err(e);
        }
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: Some(path.to_owned()),
        })
    }
}

impl Socket {
    #[expect(unsafe_code, reason = "a number is all that was given")]
    fn given(number: RawFd) -> io::Result<Self> {
        // SAFETY: `settle` has left this descriptor alone, and nothing else takes it. A number that
        // is none of a descriptor fails here first.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        let listening =
            socket_acceptconn(borrowed)? && socket_domain(borrowed)? == AddressFamily::UNIX;
        if !listening {
            let why = "no listening Unix socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // SAFETY: as above; it is open, and owned from here on.
        let listener = StdListener::from(unsafe { OwnedFd::from_raw_fd(number) });
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: None,
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
