//! The user namespaces of a sandbox.
//!
//! As root there is one: the sandbox's own, whose ids are a range that nobody else has. An ordinary
//! user's runner first enters an outer one, in which it is root over the ids that the user may use;
//! the sandbox's own is within that.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use axo_runner::{IdMap, IdRange, Users};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use rustix::thread::UnshareFlags;

use super::fork::fork;
use super::namespace::{unshare, unshare_mounts};
use super::step::{Failed, Step as _};

/// Whose the sandbox's processes are.
pub(crate) struct Entered {
    /// The sandbox's own user namespace.
    pub(crate) inner: OwnedFd,
    /// Its ids.
    map: IdMap,
    tool: (u32, u32),
    /// Whether this process may use any id, and so may map those of a mount.
    pub(crate) is_root: bool,
}

impl Entered {
    /// The tool's user and group, as this process sees them.
    pub(crate) fn tool(&self) -> (u32, u32) {
        (
            outside(&self.map.users, self.tool.0),
            outside(&self.map.groups, self.tool.1),
        )
    }

    /// The sandbox's root, as this process sees it.
    pub(crate) fn root(&self) -> (u32, u32) {
        (outside(&self.map.users, 0), outside(&self.map.groups, 0))
    }
}

fn outside(ranges: &[IdRange], inside: u32) -> u32 {
    ranges
        .iter()
        .find(|range| (range.inside..range.inside.saturating_add(range.count)).contains(&inside))
        .map_or(u32::MAX, |range| range.outside + (inside - range.inside))
}

/// Enters the outer user namespace if there is one, makes the inner one, and enters a mount
/// namespace whose mounts nobody else sees.
pub(crate) fn enter(users: &Users) -> Result<Entered, Failed> {
    match &users.outer {
        Some(map) => enter_outer(map, users.newuidmap.as_deref(), users.newgidmap.as_deref())?,
        // What groups the engine's user has besides is none of the sandbox's. An ordinary user may
        // not give them up; they are nobody's in the sandbox.
        None => drop_groups(),
    }
    let inner = with_ids(&users.inner, UserLimits::Reduced)?;
    unshare_mounts()?;
    Ok(Entered {
        inner,
        map: users.inner.clone(),
        tool: users.tool,
        is_root: users.outer.is_none(),
    })
}

/// How much of what the kernel counts by user a namespace may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserLimits {
    /// As much as the host's user: the namespace only names ids, and nothing runs in it.
    Inherited,
    /// Little: everything is counted for the host's user as well, who has other use for it.
    Reduced,
}

/// Run in a new user namespace, by a process that may do anything there.
fn limit_counts() -> std::io::Result<()> {
    for (what, most) in [
        ("max_inotify_instances", "16"),
        ("max_inotify_watches", "4096"),
        ("max_fanotify_groups", "0"),
    ] {
        match std::fs::write(format!("/proc/sys/user/{what}"), most) {
            // Older kernels do not count it by namespace.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// A user namespace with these ids, held open by its descriptor alone.
pub(crate) fn with_ids(map: &IdMap, limits: UserLimits) -> Result<OwnedFd, Failed> {
    const DOING: &str = "making a user namespace";
    let (mut ready, tell) = pipe().step(DOING)?;
    let (wait, mut release) = pipe().step(DOING)?;
    let child = fork(|| {
        let (mut wait, mut tell) = (&wait, &tell);
        let mut done = |result: std::io::Result<()>| tell.write_all(&report(result)).is_ok();
        let mapped = done(unshare(UnshareFlags::NEWUSER).map_err(Into::into))
            && wait.read_exact(&mut [0]).is_ok();
        let told = mapped
            && done(match limits {
                UserLimits::Inherited => Ok(()),
                UserLimits::Reduced => limit_counts(),
            });
        // Until the parent has the namespace and ends this.
        let _ = wait.read(&mut [0]);
        i32::from(!told)
    })
    .step(DOING)?;
    drop(tell);
    let opened = (|| {
        reported(&mut ready).step(DOING)?;
        let of = |file: &str| format!("/proc/{}/{file}", child.as_raw_nonzero());
        std::fs::write(of("uid_map"), text(&map.users)).step("mapping users")?;
        std::fs::write(of("gid_map"), text(&map.groups)).step("mapping groups")?;
        release.write_all(&[1]).step(DOING)?;
        reported(&mut ready).step("limiting what the kernel counts in a user namespace")?;
        File::open(of("ns/user")).step(DOING)
    })();
    let _ = kill_process(child, Signal::KILL);
    let _ = waitpid(Some(child), WaitOptions::empty());
    Ok(opened?.into())
}

/// How a step of a child went, on its way to the parent: its `errno`, 0 for none.
fn report(result: std::io::Result<()>) -> [u8; 4] {
    let unknown = rustix::io::Errno::IO.raw_os_error();
    let errno = result.map_or_else(|e| e.raw_os_error().unwrap_or(unknown), |()| 0);
    errno.to_ne_bytes()
}

fn reported(child: &mut impl std::io::Read) -> std::io::Result<()> {
    let mut errno = [0; 4];
    child.read_exact(&mut errno)?;
    match i32::from_ne_bytes(errno) {
        0 => Ok(()),
        errno => Err(std::io::Error::from_raw_os_error(errno)),
    }
}

/// Makes this process root of a user namespace over `map`. A map of more than the user's own id is
/// written by the system's setuid helpers.
fn enter_outer(
    map: &IdMap,
    newuidmap: Option<&Path>,
    newgidmap: Option<&Path>,
) -> Result<(), Failed> {
    const DOING: &str = "entering a user namespace";
    let (Some(newuidmap), Some(newgidmap)) = (newuidmap, newgidmap) else {
        unshare(UnshareFlags::NEWUSER).step(DOING)?;
        std::fs::write("/proc/self/setgroups", "deny").step(DOING)?;
        std::fs::write("/proc/self/uid_map", text(&map.users)).step("mapping users")?;
        return std::fs::write("/proc/self/gid_map", text(&map.groups)).step("mapping groups");
    };
    // The helpers must be started outside, so a child that stays there waits for us to be inside.
    let us = getpid();
    let (mut inside, mut tell) = pipe().step(DOING)?;
    let child = fork(|| {
        let mapped = inside.read_exact(&mut [0]).is_ok()
            && map_with(newuidmap, us, &map.users)
            && map_with(newgidmap, us, &map.groups);
        i32::from(!mapped)
    })
    .step(DOING)?;
    unshare(UnshareFlags::NEWUSER).step(DOING)?;
    tell.write_all(&[1]).step(DOING)?;
    let ended = waitpid(Some(child), WaitOptions::empty()).step(DOING)?;
    if ended.is_none_or(|(_, status)| status.exit_status() != Some(0)) {
        let why = format!(
            "{} or {} refused; do /etc/subuid and /etc/subgid give this user the range?",
            newuidmap.display(),
            newgidmap.display()
        );
        return Err(Failed::new(DOING, why));
    }
    drop_groups();
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the system's setuid helpers may write a map of several ids"
)]
fn map_with(program: &Path, of: Pid, ranges: &[IdRange]) -> bool {
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.count]);
    std::process::Command::new(program)
        .env_clear()
        .arg(of.as_raw_nonzero().to_string())
        .args(numbers.map(|number| number.to_string()))
        .status()
        .is_ok_and(|status| status.success())
}

fn text(ranges: &[IdRange]) -> String {
    ranges
        .iter()
        .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count))
        .collect()
}

fn pipe() -> rustix::io::Result<(File, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

fn drop_groups() {
    // Refused where a user has a single id; see `enter`.
    let _ = rustix::thread::set_thread_groups(&[]);
}

/// What the descriptor is called for whoever opens it by path.
pub(crate) fn path_of(namespace: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", namespace.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_child_failed_reaches_its_parent() {
        let through = |result| reported(&mut report(result).as_slice());
        through(Ok(())).unwrap();
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(through(Err(full)).unwrap_err().raw_os_error(), Some(28));
        assert!(reported(&mut [0; 2].as_slice()).is_err(), "it was killed");
    }
}
