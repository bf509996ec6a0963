//! Child processes of a process that has one thread. They end with it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// A child that does `work` and exits with its result.
#[expect(unsafe_code, reason = "there is no safe fork")]
pub(crate) fn fork(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    let us = getpid();
    // SAFETY: this process has one thread, so the child's memory is whole.
    parent_or(unsafe { libc::fork() }.into(), Some(us), work)
}

/// The same, begun in the cgroup of v2 whose directory this is.
pub(crate) fn fork_into(cgroup: BorrowedFd<'_>, work: impl FnOnce() -> i32) -> io::Result<Pid> {
    let us = getpid();
    parent_or(clone(Some(cgroup), 0), Some(us), work)
}

/// The same, as the first process of a pid namespace, begun in a cgroup of v2 if one is given. It does
/// not see its parent: that this lives is for `work` to find out.
pub(crate) fn fork_first(
    cgroup: Option<BorrowedFd<'_>>,
    work: impl FnOnce() -> i32,
) -> io::Result<Pid> {
    parent_or(clone(cgroup, CLONE_NEWPID), None, work)
}

#[expect(unsafe_code, reason = "only the system call itself can name a cgroup")]
fn clone(cgroup: Option<BorrowedFd<'_>>, flags: u64) -> libc::c_long {
    let (into, cgroup) = match cgroup {
        Some(cgroup) => (
            CLONE_INTO_CGROUP,
            u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ),
        None => (0, 0),
    };
    let arguments = CloneArguments {
        flags: flags | into,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        cgroup,
        ..CloneArguments::default()
    };
    // SAFETY: as for fork; the structure is that of the system call, and its size is told. Nothing
    // here or in libcontainer, which does the same, relies on what libc notes of a fork.
    unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&arguments),
            size_of::<CloneArguments>(),
        )
    }
}

#[expect(
    unsafe_code,
    reason = "a child must not return into what its parent does"
)]
fn parent_or(
    pid: libc::c_long,
    parent: Option<Pid>,
    work: impl FnOnce() -> i32,
) -> io::Result<Pid> {
    if pid == 0 {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        // The parent may have been killed before it was asked for.
        let status = if getppid() == parent { work() } else { 1 };
        // SAFETY: ends the child at once; nothing of the parent's is flushed or dropped twice.
        unsafe { libc::_exit(status) }
    }
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(io::Error::last_os_error)
}

// From <linux/sched.h>.
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of <linux/sched.h>.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
