//! What the agent makes of the process that it finds itself in, before anything else.

use std::os::fd::RawFd;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Above this none is looked for where they cannot be closed at once.
const MOST_INHERITED: RawFd = 4095;

/// Open files that processes may have: what the agent itself began with.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) files: Rlimit,
}

/// Gives up what was inherited, but one descriptor, and takes what is needed. No other thread, and no
/// descriptor of ours, may be there yet.
pub(crate) fn settle(kept: Option<RawFd>) -> Surroundings {
    match kept {
        Some(kept) => {
            close_inherited(3, kept - 1);
            close_inherited(kept.saturating_add(1), RawFd::MAX);
        }
        None => close_inherited(3, RawFd::MAX),
    }
    default_signals();
    fixed_memory_thresholds();
    // Its memory has the output and input of every process; only root may look.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: files.maximum,
        ..files
    };
    let _ = setrlimit(Resource::Nofile, most);
    Surroundings { files }
}

#[expect(unsafe_code, reason = "there is no safe way to close what nobody owns")]
fn close_inherited(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: nothing has opened a descriptor yet, so none above 2 is owned by a value.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 {
        return;
    }
    // Linux before 5.9, or a filter that does not know the call.
    for descriptor in first..=last.min(MOST_INHERITED) {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}

/// Ignored and blocked signals would be inherited by every process. The Rust runtime ignores
/// `SIGPIPE` in us and resets it in children.
#[expect(unsafe_code, reason = "there is no safe interface to dispositions")]
fn default_signals() {
    // SAFETY: no handler is installed yet that this would remove, and the set is made before its use.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            if ![
                libc::SIGPIPE,
                libc::SIGKILL,
                libc::SIGSTOP,
                libc::SIGSEGV,
                libc::SIGBUS,
            ]
            .contains(&signal)
            {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// After a crowd: what is free in between is the system's again.
#[expect(unsafe_code, reason = "the allocator is C's")]
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// With thresholds that adapt, glibc keeps the memory of output that is long forgotten.
#[expect(unsafe_code, reason = "the allocator is C's")]
fn fixed_memory_thresholds() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
        // The few threads for files share the main one's memory.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
