//! How the engine stands with the scheduler is not how its sandboxes do.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// `IOPRIO_WHO_PROCESS`, and what is in an I/O priority: its class above this many bits, its level in
/// the lowest ones.
const IO_PROCESS: libc::c_long = 1;
const IO_CLASS_SHIFT: u32 = 13;
const IO_LEVEL: libc::c_long = 7;
/// The classes `IOPRIO_CLASS_RT` and `IOPRIO_CLASS_BE`, and the level that a process of the latter has
/// by itself. A lower one is served first.
const IO_REAL_TIME: libc::c_long = 1;
const IO_BEST_EFFORT: libc::c_long = 2;
const IO_ORDINARY_LEVEL: libc::c_long = 4;

/// Gives up what this process has of its engine beyond what an ordinary one has: real-time scheduling,
/// which no share of a core holds back, a nice value below 0, and being served first by disks. What it
/// has less of stays.
pub(super) fn give_up() -> io::Result<()> {
    // First, because it brings a nice value back.
    let policy = call(libc::SYS_sched_getscheduler, [0; 3])?;
    if [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE]
        .map(libc::c_long::from)
        .contains(&(policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK)))
    {
        be_ordinary()?;
    }
    if getpriority_process(None)? < 0 {
        setpriority_process(None, 0)?;
    }
    // A kernel without I/O priorities has none to give up.
    let Ok(io) = call(libc::SYS_ioprio_get, [IO_PROCESS, 0, 0]) else {
        return Ok(());
    };
    let (class, level) = (io >> IO_CLASS_SHIFT, io & IO_LEVEL);
    if class == IO_REAL_TIME || class == IO_BEST_EFFORT && level < IO_ORDINARY_LEVEL {
        call(libc::SYS_ioprio_set, [IO_PROCESS, 0, 0])?;
    }
    Ok(())
}

/// Where memory of the whole host runs out, a sandbox goes before anything of the host's, whatever
/// the engine's own standing is. An engine that goes earlier still takes its sandboxes along.
pub(super) fn go_first() -> io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    const EARLY: i32 = 500;
    let of_engine = std::fs::read_to_string(FILE)?.trim().parse();
    match of_engine {
        Ok(EARLY..) => Ok(()),
        _ => std::fs::write(FILE, EARLY.to_string()),
    }
}

#[expect(unsafe_code, reason = "no safe function sets a scheduling policy")]
fn be_ordinary() -> io::Result<()> {
    // The kernel's `struct sched_param`; C libraries have a longer one.
    let parameters: libc::c_int = 0;
    let policy = libc::c_long::from(libc::SCHED_OTHER);
    // SAFETY: the kernel reads one number, which outlives the call. Not every C library makes it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            policy,
            &raw const parameters,
        )
    };
    of(result).map(drop)
}

#[expect(unsafe_code, reason = "no safe function makes these calls")]
fn call(
    number: libc::c_long,
    [first, second, third]: [libc::c_long; 3],
) -> io::Result<libc::c_long> {
    // SAFETY: the calls made here take numbers, and change nothing of this process's memory.
    of(unsafe { libc::syscall(number, first, second, third) })
}

fn of(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
