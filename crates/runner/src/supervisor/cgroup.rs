//! The sandbox's cgroup: made, locked, read, and removed with everything in it.
//!
//! Its directories are locked (`flock`) as long as the runner lives. One whose lock is free belongs
//! to nobody: that is how `gc` tells what a killed runner left.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axo_runner::Cgroup as Wanted;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::step::{Failed, Step as _};
use super::usage::Usage;

/// How often a directory whose last process has just died is tried again: the kernel keeps it busy
/// for a moment.
const REMOVE_TRIES: u32 = 200;
/// How long between two tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(5);
/// How often a new directory is made anew because `gc` was quicker than our lock.
const MAKE_TRIES: u32 = 20;

/// A sandbox's cgroup. Dropped, it is killed and removed.
pub(crate) struct Cgroup {
    directories: Vec<PathBuf>,
    /// Whether the directories are ours to remove; systemd removes its own.
    ours: bool,
    locks: Vec<File>,
}

impl Cgroup {
    pub(crate) fn make(wanted: &Wanted) -> Result<Self, Failed> {
        let mut made = Self {
            directories: Vec::new(),
            ours: true,
            locks: Vec::new(),
        };
        match wanted {
            Wanted::Systemd { bus } => {
                made.ours = false;
                if let Some(address) = bus {
                    set_bus(address);
                }
            }
            Wanted::Directories(directories) => {
                for directory in directories {
                    let lock = make_locked(directory)
                        .step(&format!("making the cgroup {}", directory.display()))?;
                    made.directories.push(directory.clone());
                    made.locks.push(lock);
                }
            }
        }
        Ok(made)
    }

    /// Learns where systemd has put the container's first process.
    pub(crate) fn joined_by(mut self, pid: Pid) -> Result<Self, Failed> {
        if !self.ours {
            let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
            let text = std::fs::read_to_string(path).step("finding the cgroup of the container")?;
            self.directories = text
                .lines()
                .filter_map(|line| line.strip_prefix("0::/"))
                .map(|path| PathBuf::from("/sys/fs/cgroup").join(path))
                .collect();
        }
        Ok(self)
    }

    /// What the sandbox used.
    pub(crate) fn usage(&self) -> Usage {
        Usage::read(&self.directories)
    }

    fn kill(&self) {
        for directory in &self.directories {
            // Cgroup v2 kills all at once; the list is for v1, and bounded by the pids limit.
            if std::fs::write(directory.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            let members = std::fs::read_to_string(directory.join("cgroup.procs"));
            for pid in members.unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.ours {
            self.kill();
            return;
        }
        let mut tries = 0;
        self.directories.retain(|directory| is_there(directory));
        while !self.directories.is_empty() && tries < REMOVE_TRIES {
            self.directories
                .retain(|directory| match std::fs::remove_dir(directory) {
                    Ok(()) => false,
                    Err(e) => e.kind() != io::ErrorKind::NotFound,
                });
            if self.directories.is_empty() {
                return;
            }
            // Usually everything has died with the first process; what has not, does now.
            self.kill();
            tries += 1;
            std::thread::sleep(REMOVE_PAUSE);
        }
    }
}

fn is_there(path: &std::path::Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn make_locked(directory: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt as _;
    let mut tries = 0;
    loop {
        tries += 1;
        match std::fs::create_dir(directory) {
            Ok(()) => {}
            // Another controller of the same hierarchy, or a try of ours.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries > 1 => {}
            Err(e) => return Err(e),
        }
        let lock = File::open(directory);
        if let Ok(lock) = lock
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let (Ok(locked), Ok(named)) = (lock.metadata(), directory.symlink_metadata())
            && locked.ino() == named.ino()
        {
            return Ok(lock);
        }
        if tries == MAKE_TRIES {
            return Err(io::Error::other("it is removed as soon as it is made"));
        }
        // `gc` looks whether it is locked, for a moment.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Libcontainer finds the bus by this variable.
#[expect(unsafe_code, reason = "the environment is the process's")]
fn set_bus(address: &str) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("DBUS_SESSION_BUS_ADDRESS", address) };
}
