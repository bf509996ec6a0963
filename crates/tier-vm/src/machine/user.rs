//! A user of the host for each machine, which no other machine has at the same time.
//!
//! Users have no entry in any file and no name: a machine's is a number. It is chosen at random, and
//! locked for as long as the engine and the runner have the machine: by a byte of one file, whose
//! place is the number. A lock is the kernel's, so that nothing is left of it whatever is killed. What
//! is freed is not soon chosen again.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

/// The first number. From here no distribution has users, systemd has none for its containers, and
/// below 2³¹ every program takes a number for one.
const FIRST: u32 = 0x7800_0000;
/// How many there are.
const COUNT: u32 = 1 << 26;
/// How often another is chosen because one is taken.
const TRIES: u32 = 64;
/// Whose bytes are locked. Users are the host's, so that it does not depend on where an engine has its
/// files.
const FILE: &str = "/run/axocoatl/machine-users";

/// A user that is ours until this is dropped, and whatever shares its [descriptor](AsFd) is gone.
#[derive(Debug)]
pub struct MachineUser {
    number: u32,
    lock: File,
}

impl MachineUser {
    /// One that nobody has.
    ///
    /// # Errors
    /// If the file of locks cannot be made, as by an ordinary user.
    pub fn take() -> io::Result<Self> {
        Self::take_in(Path::new(FILE), COUNT)
    }

    /// One of the first `count`, by the locks of this file.
    fn take_in(path: &Path, count: u32) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        // A lock belongs to what was opened, so that each is of its own.
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        for _ in 0..TRIES {
            let slot = random()? % count;
            if try_lock(&lock, slot)? {
                let number = FIRST + slot;
                return Ok(Self { number, lock });
            }
        }
        Err(io::Error::other("every user that was tried is taken"))
    }

    /// The number of the user and of its group.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl AsFd for MachineUser {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Whether the byte could be locked.
#[expect(
    unsafe_code,
    reason = "rustix locks whole files, and for the process alone"
)]
fn try_lock(file: &File, byte: u32) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).map_err(io::Error::other)?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?,
        l_start: byte.into(),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel only reads the structure, which outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    match result {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            taken if taken.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
            taken if taken.raw_os_error() == Some(libc::EACCES) => Ok(false),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_taken_by_one_alone_and_free_when_all_that_share_it_are_gone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("users");
        let user = MachineUser::take_in(&path, COUNT).unwrap();
        let slot = user.number() - FIRST;
        assert!(slot < COUNT);
        let other = File::options().write(true).open(&path).unwrap();
        assert!(!try_lock(&other, slot).unwrap());
        // As the runner does.
        let shared = user.as_fd().try_clone_to_owned().unwrap();
        drop(user);
        assert!(!try_lock(&other, slot).unwrap());
        drop(shared);
        assert!(try_lock(&other, slot).unwrap());
    }

    /// Of so few that by chance alone two would be the same.
    #[test]
    fn as_many_machines_as_there_are_users_have_one_each_and_the_next_has_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("users");
        let users: Vec<_> = (0..4)
            .map(|_| MachineUser::take_in(&path, 4).unwrap())
            .collect();
        let mut numbers: Vec<_> = users.iter().map(MachineUser::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]);
        let error = MachineUser::take_in(&path, 4).unwrap_err();
        assert!(error.to_string().contains("is taken"), "{error}");
        drop(users);
        MachineUser::take_in(&path, 4).unwrap();
        // Locks take no room.
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
