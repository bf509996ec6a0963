//! The sandbox's cgroup: made, locked, limited, entered, read, and removed with everything in it.
//!
//! Its directories are locked (`flock`) as long as the runner lives. One whose lock is free belongs
//! to nobody: that is how `gc` tells what a killed runner left.
//!
//! A process enters by being cloned into it (v2), or by writing itself to `tasks` (v1). Libcontainer
//! would write to `cgroup.procs`, for which the kernel waits until every processor has passed a
//! quiescent state: 5 to 15 ms. So it is shown no cgroups at all, see [`hide`]; it has its part only
//! where systemd makes a scope.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use axo_runner::{Cgroup as Wanted, CgroupDirectory, CgroupSetting};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::descriptors::close_all_but;
use super::fork::fork;
use super::mounts;
use super::step::{Failed, Step as _};
use super::usage::Usage;

/// How often a directory whose last process has just died is tried again: the kernel keeps it busy
/// for a moment.
const REMOVE_TRIES: u32 = 400;
/// How long between two tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(2);
/// How often systemd's scope is looked at until its limits are set.
const LIMIT_TRIES: u32 = 200;
/// How long between two looks.
const LIMIT_PAUSE: Duration = Duration::from_millis(5);
/// How often a new directory is made anew because `gc` was quicker than our lock.
const MAKE_TRIES: u32 = 20;
/// Where the host has its cgroups.
const ROOT: &str = "/sys/fs/cgroup";

/// A sandbox's cgroup, none before it is made. Dropped, it is killed and removed.
#[derive(Default)]
pub(crate) struct Cgroup {
    directories: Vec<Directory>,
    /// Whether systemd makes and removes it, and not we.
    of_systemd: bool,
    /// What systemd's scope must be limited to.
    limits: Vec<CgroupSetting>,
    /// A process that does nothing but be in systemd's scope: without one, systemd would remove it
    /// with the tool's end, before what it used is read.
    keeper: Option<Pid>,
}

/// One directory, by descriptors: its path is hidden once the container is made.
struct Directory {
    parent: OwnedFd,
    name: String,
    /// Locked.
    itself: File,
}

impl Cgroup {
    /// Makes it. Where that fails, [`Self::remove`] removes what there is.
    pub(crate) fn make(&mut self, wanted: &Wanted) -> Result<(), Failed> {
        match wanted {
            Wanted::Systemd { bus, limits } => {
                self.of_systemd = true;
                self.limits.clone_from(limits);
                if let Some(address) = bus {
                    set_bus(address);
                }
            }
            Wanted::Directories(directories) => {
                for wanted in directories {
                    let doing = format!("making the cgroup {}", wanted.path.display());
                    self.directories.push(Directory::make(wanted).step(&doing)?);
                    if let Some(directory) = self.directories.last() {
                        directory.limit(&wanted.settings)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory that a process can be cloned into: cgroup v2's.
    pub(crate) fn unified(&self) -> Option<&File> {
        let directory = self.directories.first().filter(|_| !self.of_systemd)?;
        directory.has("cgroup.events").then_some(&directory.itself)
    }

    /// Moves this process, which has one thread, into the cgroup of every hierarchy of v1. On v2 it
    /// was cloned into it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if !self.of_systemd && self.unified().is_none() {
            for directory in &self.directories {
                // "0" is the writer itself, whom nothing else can be doing anything to.
                directory.write("tasks", "0")?;
            }
        }
        Ok(())
    }

    /// What a child that has entered needs no more.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories
            .iter()
            .flat_map(|directory| [directory.itself.as_fd(), directory.parent.as_fd()])
    }

    /// Shows this mount namespace no cgroups, and so libcontainer none to enter.
    pub(crate) fn hide(&self) -> Result<(), Failed> {
        if self.of_systemd {
            return Ok(());
        }
        mounts::hide(Path::new(ROOT)).step("hiding the host's cgroups")
    }

    /// Learns where systemd has put the container's first process.
    pub(crate) fn joined_by(&mut self, pid: Pid, id: &str) -> Result<(), Failed> {
        const DOING: &str = "finding the cgroup of the container";
        if !self.of_systemd {
            return Ok(());
        }
        let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
        let text = std::fs::read_to_string(path).step(DOING)?;
        let place = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let place = place.ok_or_else(|| Failed::new(DOING, "it is in none of cgroup v2"))?;
        let place = Path::new(ROOT).join(place);
        // What is killed in the end must be this sandbox's and nothing else.
        if place
            .file_name()
            .is_none_or(|name| name != format!("{id}.scope").as_str())
        {
            let why = format!(
                "it is in {} and not in the scope {id}.scope",
                place.display()
            );
            return Err(Failed::new(DOING, why));
        }
        let directory = Directory::open(&place).step(DOING)?;
        for limit in &self.limits {
            directory.is_limited(limit)?;
        }
        const KEEPING: &str = "keeping the scope of the container";
        let keeper = fork(keep).step(KEEPING)?;
        self.keeper = Some(keeper);
        directory
            .write("cgroup.procs", &keeper.as_raw_nonzero().to_string())
            .step(KEEPING)?;
        self.directories.push(directory);
        Ok(())
    }

    /// What the sandbox used.
    pub(crate) fn usage(&self) -> Usage {
        Usage::read(|file| {
            self.directories
                .iter()
                .find_map(|directory| directory.read(file).ok())
        })
    }

    fn kill(&self) {
        for directory in &self.directories {
            // Cgroup v2 kills all at once; the list is for v1, and bounded by the pids limit.
            if directory.write("cgroup.kill", "1").is_ok() {
                continue;
            }
            for pid in directory.read("cgroup.procs").unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}

impl Cgroup {
    /// Kills what is in it, and removes it. Nothing is left to do a second time.
    pub(crate) fn remove(&mut self) -> Result<(), Failed> {
        if self.of_systemd {
            self.kill();
            self.directories.clear();
            if let Some(keeper) = self.keeper.take() {
                let _ = kill_process(keeper, Signal::KILL);
                let _ = waitpid(Some(keeper), WaitOptions::empty());
            }
            return Ok(());
        }
        for _ in 0..REMOVE_TRIES {
            self.directories.retain(|directory| !directory.remove());
            if self.directories.is_empty() {
                return Ok(());
            }
            // Usually everything has died with the first process; what has not, does now.
            self.kill();
            std::thread::sleep(REMOVE_PAUSE);
        }
        let names: Vec<_> = self
            .directories
            .drain(..)
            .map(|directory| directory.name)
            .collect();
        let why = format!("{} cannot be removed", names.join(", "));
        Err(Failed::new("removing the cgroup", why))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// What a keeper does until it is killed. It holds nothing of the runner's open.
#[expect(unsafe_code, reason = "there is no safe pause")]
fn keep() -> i32 {
    close_all_but(None);
    loop {
        // SAFETY: waits for a signal, and touches no memory.
        unsafe { libc::pause() };
    }
}

impl Directory {
    fn make(wanted: &CgroupDirectory) -> io::Result<Self> {
        let (parent, name) = split(&wanted.path)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                // A try of ours.
                Err(Errno::EXIST) if tries > 1 => {}
                Err(e) => return Err(e.into()),
            }
            if let Some(itself) = locked(&parent, name) {
                return Ok(Self {
                    parent,
                    name: name.to_owned(),
                    itself,
                });
            }
            if tries == MAKE_TRIES {
                return Err(io::Error::other("it is removed as soon as it is made"));
            }
            // `gc` looks whether it is locked, for a moment.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn open(path: &Path) -> io::Result<Self> {
        let (parent, name) = split(path)?;
        let itself = openat(&parent, name, directory_flags(), Mode::empty())?;
        Ok(Self {
            name: name.to_owned(),
            itself: itself.into(),
            parent,
        })
    }

    fn limit(&self, settings: &[CgroupSetting]) -> Result<(), Failed> {
        for CgroupSetting {
            file,
            value,
            required,
        } in settings
        {
            match self.write(file, value) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !required => {}
                result => result.step(&format!("setting {file} to {value}"))?,
            }
        }
        Ok(())
    }

    /// Waits until systemd has set this: it answers first, and sets then. What it was not delegated
    /// it leaves out without a word.
    fn is_limited(&self, limit: &CgroupSetting) -> Result<(), Failed> {
        let doing = format!("limiting {} to {}", limit.file, limit.value);
        let mut tries = 0;
        loop {
            let why = match self.read(&limit.file) {
                Ok(found) if in_force(&found, &limit.value) => return Ok(()),
                Ok(found) => format!("systemd has set it to {}", found.trim()),
                Err(e) if e.kind() == io::ErrorKind::NotFound && !limit.required => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    "systemd was not delegated its controller: see `axocoatl tiers`".to_owned()
                }
                Err(e) => return Err(e).step(&doing),
            };
            tries += 1;
            if tries == LIMIT_TRIES {
                return Err(Failed::new(&doing, why));
            }
            std::thread::sleep(LIMIT_PAUSE);
        }
    }

    fn has(&self, file: &str) -> bool {
        statat(&self.itself, file, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.itself, file, flags, Mode::empty())?);
        file.write_all(value.as_bytes())
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.itself, file, flags, Mode::empty())?);
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Whether it is gone.
    fn remove(&self) -> bool {
        matches!(
            unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR),
            Ok(()) | Err(Errno::NOENT)
        )
    }
}

/// Whether a file of a cgroup limits to at most what was wanted: `LIMIT`, or `QUOTA PERIOD`. The
/// kernel rounds memory down to pages.
fn in_force(found: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Option<(u128, u128)> {
        let mut words = text.split_whitespace();
        let limit = words.next()?.parse().ok()?;
        Some((
            limit,
            words.next().map_or(Some(1), |word| word.parse().ok())?,
        ))
    };
    let (Some((found, of)), Some((wanted, wanted_of))) = (numbers(found), numbers(wanted)) else {
        // One of them is "max".
        return false;
    };
    found * wanted_of <= wanted * of
}

fn split(path: &Path) -> io::Result<(OwnedFd, &str)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((openat(CWD, parent, directory_flags(), Mode::empty())?, name))
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The directory, if it could be locked and still has its name.
fn locked(parent: &OwnedFd, name: &str) -> Option<File> {
    let itself = File::from(openat(parent, name, directory_flags(), Mode::empty()).ok()?);
    flock(&itself, FlockOperation::NonBlockingLockExclusive).ok()?;
    let named = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (fstat(&itself).ok()?.st_ino == named.st_ino).then_some(itself)
}

/// Libcontainer finds the bus by this variable.
#[expect(unsafe_code, reason = "the environment is the process's")]
fn set_bus(address: &str) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("DBUS_SESSION_BUS_ADDRESS", address) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_in_force_if_it_is_at_most_what_was_wanted() {
        for (found, wanted, is) in [
            ("50000 100000\n", "50000 100000", true),
            ("5000 10000\n", "50000 100000", true),
            ("60000 100000\n", "50000 100000", false),
            ("max 100000\n", "50000 100000", false),
            ("4096\n", "5000", true),
            ("max\n", "5000", false),
            ("", "5000", false),
            ("0\n", "0", true),
        ] {
            assert_eq!(in_force(found, wanted), is, "{found:?} for {wanted:?}");
        }
    }

    #[test]
    fn a_limit_that_systemd_left_out_fails_the_call_and_a_missing_swap_does_not() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("a.scope")).unwrap();
        let scope = Directory::open(&home.path().join("a.scope")).unwrap();
        let limit = |file: &str, required| CgroupSetting {
            file: file.to_owned(),
            value: "5000".to_owned(),
            required,
        };
        scope.is_limited(&limit("memory.swap.max", false)).unwrap();
        let missing = scope.is_limited(&limit("pids.max", true)).unwrap_err();
        assert!(missing.why.contains("not delegated"), "{}", missing.why);
        std::fs::write(home.path().join("a.scope/pids.max"), "max\n").unwrap();
        let wrong = scope.is_limited(&limit("pids.max", true)).unwrap_err();
        assert!(wrong.why.contains("max"), "{}", wrong.why);
        std::fs::write(home.path().join("a.scope/pids.max"), "5000\n").unwrap();
        scope.is_limited(&limit("pids.max", true)).unwrap();
    }
}
