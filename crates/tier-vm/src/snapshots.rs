//! Snapshots of machines whose container waits, kept for later calls.
//!
//! ```text
//! DATA/microvm/snapshots/KEY/memory       the guest's memory, mapped privately by every clone
//!                           /state        the VMM's state
//!                           /digests.json SHA-256 of the state, size of both, identity of the memory,
//!                                         and of the disks that the machine has mounted
//! ```
//!
//! The key is a digest of everything that makes a snapshot valid ([`crate::wanted`]), so a stale one
//! is never found; what it begins with is that of the installation and the host ([`crate::basis`]). They
//! hold no secret of a call, for none has begun; but who could change one would be every later call's
//! guest, so they are ours alone, and looked at before they are used.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::disk::Mounted;
use crate::files::{self, Aside, FileError};
use crate::machine::{MEMORY, STATE, SnapshotFiles};
use crate::places::{ASIDE, Places};

/// Largest state that is read, in bytes. Firecracker's are some 20 KiB.
const MAX_STATE: u64 = 16 << 20;
/// How long a snapshot is kept that no call uses.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Machines that are stored, at most: each takes what its guest had written, some hundred MiB. Another
/// takes the place of that which was used least recently.
const MAX_STORED: usize = 64;
const DIGESTS: &str = "digests.json";

/// Where snapshots are.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    directory: PathBuf,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Digests {
    state: String,
    state_bytes: u64,
    memory_bytes: u64,
    /// [`files::identity`]: reading all of it for every clone would take longer than a boot.
    memory: String,
    /// Without one of these it is of no use.
    disks: Vec<Mounted>,
}

impl Digests {
    fn of(stored: &SnapshotFiles, disks: &[Mounted]) -> io::Result<Self> {
        Ok(Self {
            state: digest_of(&stored.state)?,
            state_bytes: stored.state.metadata()?.len(),
            memory_bytes: stored.memory.metadata()?.len(),
            memory: files::identity(&stored.memory)?,
            disks: disks.to_vec(),
        })
    }
}

impl Snapshots {
    pub(crate) fn beneath(data: &Path) -> Self {
        Self {
            directory: Places::of(data).snapshots(),
        }
    }

    /// The snapshot of this key. One that is damaged, or could be somebody else's, is removed. Blocks.
    pub(crate) fn find(&self, key: &str) -> Option<SnapshotFiles> {
        let place = self.directory.join(key);
        match open(&place) {
            Ok(kept) => Some(kept),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !place.exists() => None,
            Err(error) => {
                tracing::warn!(path = %place.display(), %error, "a damaged snapshot is removed");
                self.forget(key);
                None
            }
        }
    }

    /// Removes a snapshot. Machines that run of it keep what they have mapped.
    pub(crate) fn forget(&self, key: &str) {
        let place = self.directory.join(key);
        if let Err(error) = std::fs::remove_dir_all(&place)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %place.display(), %error, "a snapshot was not removed");
        }
    }

    /// A directory to make a snapshot in.
    pub(crate) fn begin(&self) -> Result<Aside, FileError> {
        files::private_dir(&self.directory)?;
        Aside::directory(&self.directory)
    }

    /// Keeps what was made of a machine with these disks, unless somebody was quicker. Blocks.
    pub(crate) fn keep(&self, key: &str, staged: Aside, disks: &[Mounted]) -> io::Result<()> {
        let (memory, state) = (staged.path().join(MEMORY), staged.path().join(STATE));
        for file in [&memory, &state] {
            dig_holes(&File::options().read(true).write(true).open(file)?)?;
            File::open(file)?.sync_all()?;
        }
        let digests = Digests::of(&SnapshotFiles::open(staged.path())?, disks)?;
        std::fs::write(staged.path().join(DIGESTS), serde_json::to_vec(&digests)?)?;
        let place = self.directory.join(key);
        match staged.place(&place) {
            // Somebody was quicker.
            Err(_) if place.is_dir() => return Ok(()),
            placed => placed.map_err(io::Error::other)?,
        }
        self.make_room()
    }

    /// Removes the least recently used of too many.
    fn make_room(&self) -> io::Result<()> {
        let names = files::names(&self.directory).map_err(io::Error::other)?;
        let mut stored: Vec<_> = names
            .iter()
            .filter_map(|name| name.to_str().filter(|name| !name.starts_with(ASIDE)))
            .map(|key| (used(&self.directory.join(key)).ok(), key))
            .collect();
        stored.sort();
        for (_, key) in &stored[..stored.len().saturating_sub(MAX_STORED)] {
            self.forget(key);
        }
        Ok(())
    }
}

/// Whether the snapshot in `place` is of no use: it was not used for a month, for nobody asks when its
/// tool goes, or is what is left of one whose removal was cut short.
pub(crate) fn is_forgotten(place: &Path) -> bool {
    match used(place) {
        Err(e) => e.kind() == io::ErrorKind::NotFound,
        Ok(used) => SystemTime::now()
            .duration_since(used)
            .is_ok_and(|unused| unused > FORGOTTEN),
    }
}

/// The disks that the machine in `place` has mounted; none if that cannot be told, or one is gone.
pub(crate) fn disks(place: &Path, places: &Places) -> Option<Vec<Mounted>> {
    let disks = told(place).ok()?.disks;
    let are_there = disks.iter().all(|disk| disk.is_there(places));
    are_there.then_some(disks)
}

fn told(place: &Path) -> io::Result<Digests> {
    Ok(serde_json::from_slice(&std::fs::read(
        place.join(DIGESTS),
    )?)?)
}

/// When it was used last.
fn used(place: &Path) -> io::Result<SystemTime> {
    std::fs::metadata(place.join(DIGESTS)).and_then(|metadata| metadata.modified())
}

fn open(place: &Path) -> io::Result<SnapshotFiles> {
    let us = rustix::process::geteuid().as_raw();
    let ours = |metadata: &Metadata, others: u32| match metadata.uid() == us
        && metadata.mode() & others == 0
        && !metadata.is_symlink()
    {
        true => Ok(()),
        false => Err(io::Error::other("it could be another user's")),
    };
    ours(&std::fs::symlink_metadata(place)?, 0o077)?;
    // What is looked at is what is used.
    let stored = SnapshotFiles::open(place)?;
    ours(&stored.memory.metadata()?, 0o022)?;
    ours(&stored.state.metadata()?, 0o022)?;
    let told = told(place)?;
    if told != Digests::of(&stored, &told.disks)? {
        return Err(io::Error::other("it is not what was made"));
    }
    // When it was used last decides when it goes.
    let _ = File::options()
        .append(true)
        .open(place.join(DIGESTS))
        .and_then(|file| file.set_modified(SystemTime::now()));
    Ok(stored)
}

/// Gives back the room of what is zero: most of a guest's memory.
fn dig_holes(file: &File) -> io::Result<()> {
    /// So much at a time, in bytes.
    const CHUNK: usize = 64 << 10;
    let length = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let chunk = usize::try_from(length - at).map_or(CHUNK, |left| left.min(CHUNK));
        file.read_exact_at(&mut buffer[..chunk], at)?;
        if buffer[..chunk].iter().all(|byte| *byte == 0) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, flags, at, chunk as u64) {
                // A file system without holes has no room to give back.
                Err(Errno::OPNOTSUPP) => return Ok(()),
                result => result?,
            }
        }
        at += chunk as u64;
    }
    Ok(())
}

fn digest_of(file: &File) -> io::Result<String> {
    let length = file.metadata()?.len();
    if length > MAX_STATE {
        return Err(io::Error::other("a machine's state is larger than any is"));
    }
    // By its place: the file's own is its reader's.
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn made(snapshots: &Snapshots, key: &str) -> PathBuf {
        let staged = snapshots.begin().unwrap();
        for name in [MEMORY, STATE] {
            let path = staged.path().join(name);
            std::fs::write(&path, name).unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
        }
        snapshots.keep(key, staged, &[]).unwrap();
        snapshots.directory.join(key)
    }

    #[test]
    fn what_was_kept_is_found_and_nothing_else_is_left() {
        let home = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::beneath(home.path());
        assert!(snapshots.find("a").is_none());
        made(&snapshots, "a");
        assert!(snapshots.find("a").is_some());
        made(&snapshots, "a");
        drop(snapshots.begin().unwrap());
        let names = std::fs::read_dir(&snapshots.directory).unwrap().count();
        assert_eq!(names, 1);
    }

    #[test]
    fn of_too_many_the_least_recently_used_goes() {
        let home = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::beneath(home.path());
        let begin = SystemTime::now() - Duration::from_secs(1000);
        for number in 0..MAX_STORED as u64 {
            let digests = made(&snapshots, &format!("k{number}")).join(DIGESTS);
            let file = File::options().append(true).open(digests).unwrap();
            file.set_modified(begin + Duration::from_secs(number))
                .unwrap();
        }
        assert!(snapshots.find("k0").is_some());
        made(&snapshots, "another");
        let is_there = |key: &str| snapshots.directory.join(key).exists();
        assert!(is_there("another") && is_there("k0") && is_there("k2"));
        assert!(!is_there("k1"));
    }

    #[test]
    fn what_is_damaged_or_anybodys_is_not_used_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::beneath(home.path());
        let damages: [&dyn Fn(&Path); 7] = [
            &|place| std::fs::write(place.join(STATE), "statE").unwrap(),
            &|place| std::fs::write(place.join(MEMORY), "less").unwrap(),
            &|place| {
                // Longer than the kernel's clock of files needs for a step.
                std::thread::sleep(Duration::from_millis(20));
                std::fs::write(place.join(MEMORY), "memorY").unwrap();
            },
            &|place| std::fs::remove_file(place.join(MEMORY)).unwrap(),
            &|place| std::fs::write(place.join(DIGESTS), "{}").unwrap(),
            &|place| std::fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap(),
            &|place| {
                let mode = Permissions::from_mode(0o666);
                std::fs::set_permissions(place.join(MEMORY), mode).unwrap();
            },
        ];
        for (number, damage) in damages.iter().enumerate() {
            let place = made(&snapshots, "a");
            damage(&place);
            assert!(snapshots.find("a").is_none(), "damage {number}");
            assert!(!place.exists(), "damage {number}");
        }
    }
}
