//! The last steps before the tool, inside the container: libcontainer calls them in the process that
//! becomes the tool.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};

use axo_runner::{Launch, Prepare, receive, send};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::Spec;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::Signal;
use seccompiler::sock_filter;

use super::descriptors::{close_all_but, close_from, is_closed};
use super::resources;

/// Executes the tool, as the engine says at the start of the call.
#[derive(Clone)]
pub(super) struct Launcher {
    socket: RawFd,
    /// What the tool is to listen on, open as the socket is.
    listener: Option<RawFd>,
    filters: Vec<Vec<sock_filter>>,
    files: u32,
}

impl Launcher {
    /// Both are open in this process when the container's first process is cloned from it.
    pub(super) fn new(
        socket: RawFd,
        listener: Option<RawFd>,
        filters: &[Vec<u64>],
        files: u32,
    ) -> Self {
        Self {
            socket,
            listener,
            filters: filters
                .iter()
                .map(|filter| filter.iter().map(|packed| unpack(*packed)).collect())
                .collect(),
            files,
        }
    }

    #[expect(
        unsafe_code,
        reason = "libcontainer's executor is cloned, so it cannot own it"
    )]
    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor was inherited from the runner, and nothing in this process closes it.
        unsafe { BorrowedFd::borrow_raw(self.socket) }
    }

    /// Does not return if it succeeds.
    fn execute(&self, launch: &Launch) -> Result<(), String> {
        let says = |what: &str| {
            let what = what.to_owned();
            move |e: std::io::Error| format!("{what}: {e}")
        };
        match self.listener {
            // It is told what to do over that.
            Some(_) => no_input().map_err(says("opening /dev/null as standard input"))?,
            None => read_input().map_err(says("opening the input as standard input"))?,
        }
        resources::limit(self.files).map_err(says("setting resource limits"))?;
        Err(Command::new(launch)?.execute())
    }
}

impl Executor for Launcher {
    /// Called when the container is ready and waits. What is left to do, waiting for the call and
    /// executing the tool, the filter allows; so it is installed here, and no call waits for it.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        let failed = |what: &str, why: &dyn std::error::Error| {
            ExecutorValidationError::ArgValidationError(format!("{what}: {why}"))
        };
        // If the runner is killed, the container goes with it. Set after the last change of user,
        // which would clear it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|e| failed("asking to end with the runner", &e))?;
        // It may have been killed before that. Then its end of the socket, which it alone has, is
        // closed.
        if is_closed(self.socket()) {
            let gone = "the runner is gone".to_owned();
            return Err(ExecutorValidationError::ArgValidationError(gone));
        }
        for filter in &self.filters {
            seccompiler::apply_filter(filter)
                .map_err(|e| failed("installing the seccomp filter", &e))?;
        }
        Ok(())
    }

    /// The tool's environment comes with its call.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    /// Called when the call begins.
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let (launch, _) =
            receive::<Launch>(self.socket()).map_err(|e| ExecutorError::Other(e.to_string()))?;
        // Executing would close them too, but only after it has looked up the program, its
        // interpreter and its loader: a path through `/proc/self/fd` would lead out of the container.
        let failed = |e: rustix::io::Errno| ExecutorError::Other(e.to_string());
        let socket = match self.listener {
            None => {
                close_all_but(Some(self.socket()));
                None
            }
            Some(listener) => {
                // Above what the tool is handed, whose number it may have.
                let socket = fcntl_dupfd_cloexec(self.socket(), Prepare::LISTENER + 1);
                let socket = socket.map_err(failed)?;
                hand_over(listener).map_err(|e| ExecutorError::Other(e.to_string()))?;
                close_from(Prepare::LISTENER + 1, Some(socket.as_fd()));
                Some(socket)
            }
        };
        let why = match self.execute(&launch) {
            Ok(()) => "it returned".to_owned(),
            Err(why) => why,
        };
        let socket = socket
            .as_ref()
            .map_or(self.socket(), |socket| socket.as_fd());
        let _ = send(socket, &why, &[]);
        Err(ExecutorError::Other(why))
    }
}

/// The tool's standard input is its input file, opened inside: its descriptor leads nowhere else.
fn read_input() -> std::io::Result<()> {
    let input = std::fs::File::open("/axocoatl/input.json")?;
    Ok(rustix::stdio::dup2_stdin(&input)?)
}

fn no_input() -> std::io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(&null)?)
}

/// Gives the tool its listening socket, at the number where it looks for it.
#[expect(
    unsafe_code,
    reason = "what has that number is nobody's value in this process"
)]
fn hand_over(listener: RawFd) -> std::io::Result<()> {
    // SAFETY: it was inherited from the runner, and is closed by `close_from` alone.
    let borrowed = unsafe { BorrowedFd::borrow_raw(listener) };
    if listener == Prepare::LISTENER {
        return Ok(fcntl_setfd(borrowed, FdFlags::empty())?);
    }
    // SAFETY: takes two numbers. What had the second is not used any more.
    match unsafe { libc::dup2(listener, Prepare::LISTENER) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A command as the kernel takes it.
struct Command {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    fn new(launch: &Launch) -> Result<Self, String> {
        let c_string = |text: &String| {
            CString::new(text.as_str()).map_err(|_| {
                "the program, an argument or a variable has a NUL character".to_owned()
            })
        };
        Ok(Self {
            program: c_string(&launch.program)?,
            args: launch.args.iter().map(c_string).collect::<Result<_, _>>()?,
            env: launch.env.iter().map(c_string).collect::<Result<_, _>>()?,
        })
    }

    /// Returns only why it failed.
    #[expect(
        unsafe_code,
        reason = "no safe function executes a program with an environment"
    )]
    fn execute(&self) -> String {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        // SAFETY: the arrays end with a null pointer, and the strings outlive the call.
        unsafe { libc::execve(self.program.as_ptr(), args.as_ptr(), env.as_ptr()) };
        let why = std::io::Error::last_os_error();
        format!("{}: {why}", self.program.to_string_lossy())
    }
}

const fn unpack(packed: u64) -> sock_filter {
    let bytes = packed.to_be_bytes();
    sock_filter {
        code: u16::from_be_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}
