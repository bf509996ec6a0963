//! The limits that are a process's own; the cgroup has those of the whole sandbox.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory a sandbox may keep from being paged, in bytes: what cryptographic libraries take.
const MAX_LOCKED_BYTES: u64 = 64 << 10;
/// Signals that may wait for a sandbox's processes.
const MAX_SIGNALS: u64 = 1024;
/// Messages in POSIX queues, in bytes.
const MAX_QUEUE_BYTES: u64 = 64 << 10;

/// Largest core file, in bytes. It would be written as whatever the host's core_pattern says, and where
/// that is a program, the program is started whatever the limit is, but for this one.
const MAX_CORE_BYTES: u64 = 1;

/// Lowers them for this process and what it starts. `files` is the most open descriptors.
pub(super) fn limit(files: u32) -> std::io::Result<()> {
    setrlimit(Resource::Nofile, both(files.into()))?;
    setrlimit(Resource::Core, both(MAX_CORE_BYTES))?;
    // What the engine may have is none of the sandbox's: real-time priority, locked memory, and what
    // the kernel counts for the host's user, whom all sandboxes have in common.
    setrlimit(Resource::Rtprio, both(0))?;
    setrlimit(Resource::Nice, both(0))?;
    for (resource, most) in [
        (Resource::Memlock, MAX_LOCKED_BYTES),
        (Resource::Sigpending, MAX_SIGNALS),
        (Resource::Msgqueue, MAX_QUEUE_BYTES),
    ] {
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, both(most.min(allowed)))?;
    }
    Ok(())
}

fn both(limit: u64) -> Rlimit {
    Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    }
}
