//! Removing what nobody uses any more.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::artifacts::{Artifacts, ArtifactsError};
use crate::cache::{LOCK, lock_of};
use crate::files::{self, FileError};
use crate::lock::{self, Hold, LockError};
use crate::places::{ASIDE, Places};
use crate::{basis, disk, initramfs, snapshots};

/// What is being made is locked by its maker an instant after it is there, and is no garbage in between.
const MAKING: Duration = Duration::from_secs(60);

/// How long to wait for another process that installs or removes.
pub(crate) const CHANGE_WAIT: Duration = Duration::from_secs(60);

/// Something that was removed, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Garbage {
    /// The file or directory.
    pub path: PathBuf,
    /// What it takes, in bytes.
    pub bytes: u64,
}

/// Removes, or with `dry_run` only finds: installations that were replaced, every initramfs but that
/// of the installation in force, every snapshot that was made with another installation than that in
/// `installed`, has lost a disk or was not used for a month, every disk whose digest `keep` does not want
/// and no snapshot has mounted, and what makers that died left. Nothing that somebody has open is removed, but snapshots, which live on where they are
/// open.
///
/// # Errors
/// The host failed, or another process changes the same for long.
pub fn gc(
    installed: &Path,
    data: &Path,
    keep: &dyn Fn(&str) -> bool,
    dry_run: bool,
) -> Result<Vec<Garbage>, LockError> {
    let places = Places::of(data);
    if !places.root().exists() {
        return Ok(Vec::new());
    }
    let _changing = lock::wait(&places.lock(), "changing tier microvm's files", CHANGE_WAIT)?;
    let mut sweep = Sweep::new(dry_run);
    sweep.setups(&places)?;
    match Artifacts::open(installed) {
        Ok(artifacts) => {
            let used = initramfs::name(&initramfs::digest(&artifacts));
            sweep.directory(&places.initramfs(), &|name| name != used)?;
            sweep.snapshots(&places, &basis::prefix(&artifacts))?;
        }
        Err(ArtifactsError::NotSetUp { .. }) => {
            sweep.directory(&places.initramfs(), &|_| true)?;
            sweep.directory(&places.snapshots(), &|_| true)?;
        }
        // Nobody can tell what is used.
        Err(error) => {
            tracing::warn!(%error, "every initramfs is kept");
            sweep.directory(&places.initramfs(), &|_| false)?;
            sweep.snapshots(&places, "")?;
        }
    }
    sweep.disks(&places, keep)?;
    Ok(sweep.garbage)
}

/// Removes what makers that died left, at the beginning of an engine's life. Whoever changes these files
/// just now does that as well.
pub(crate) fn abandoned(data: &Path) -> Result<(), LockError> {
    let places = Places::of(data);
    if !places.root().exists() {
        return Ok(());
    }
    let changing = "changing tier microvm's files";
    let _changing = match lock::wait(&places.lock(), changing, Duration::ZERO) {
        Err(LockError::Busy { .. }) => return Ok(()),
        locked => locked?,
    };
    let mut sweep = Sweep::new(false);
    for directory in [places.initramfs(), places.disks(), places.snapshots()] {
        sweep.directory(&directory, &|_| false)?;
    }
    Ok(())
}

/// Removes installations that were replaced, for whoever replaced one.
pub(crate) fn replaced(places: &Places) -> Result<(), FileError> {
    let mut sweep = Sweep::new(false);
    sweep.setups(places)
}

struct Sweep {
    dry_run: bool,
    garbage: Vec<Garbage>,
    /// Names of disks that stored machines have.
    mounted: HashSet<String>,
}

impl Sweep {
    fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            garbage: Vec::new(),
            mounted: HashSet::new(),
        }
    }
}

impl Sweep {
    fn setups(&mut self, places: &Places) -> Result<(), FileError> {
        let current = std::fs::read_link(places.current()).ok();
        let current = current.as_deref().and_then(Path::file_name);
        self.directory(&places.setups(), &|name| Some(name.as_ref()) != current)
    }

    /// Those that do not begin with `prefix`, that lack a disk, and that nobody wants any more.
    fn snapshots(&mut self, places: &Places, prefix: &str) -> Result<(), FileError> {
        let directory = places.snapshots();
        let mounted = RefCell::new(HashSet::new());
        self.directory(&directory, &|name| {
            let place = directory.join(name);
            if !name.starts_with(prefix) || snapshots::is_forgotten(&place) {
                return true;
            }
            let Some(disks) = snapshots::disks(&place, places) else {
                return true;
            };
            mounted
                .borrow_mut()
                .extend(disks.into_iter().map(|disk| disk.name));
            false
        })?;
        self.mounted = mounted.into_inner();
        Ok(())
    }

    /// After [`Self::snapshots`]: those that nothing has.
    fn disks(&mut self, places: &Places, keep: &dyn Fn(&str) -> bool) -> Result<(), FileError> {
        let mounted = std::mem::take(&mut self.mounted);
        self.directory(&places.disks(), &|name| {
            let is_kept = name.strip_suffix(disk::ENDING).is_some_and(keep);
            !is_kept && !mounted.contains(name)
        })
    }

    /// Removes of a directory what was made aside by the dead, and what is `stale`.
    fn directory(
        &mut self,
        directory: &Path,
        stale: &dyn Fn(&str) -> bool,
    ) -> Result<(), FileError> {
        for name in files::names(directory)? {
            let name = name.to_string_lossy();
            let path = directory.join(&*name);
            let removed = if name.starts_with(ASIDE) {
                is_old(&path) && self.take(&path)?
            } else {
                !name.ends_with(LOCK) && stale(&name) && self.take(&path)?
            };
            if removed && !self.dry_run {
                self.take_lock(&lock_of(&path))?;
            }
            // What was to be made beneath it, and was not.
            if let Some(of) = name.strip_suffix(LOCK)
                && !self.dry_run
                && !directory.join(of).exists()
            {
                self.take_lock(&path)?;
            }
        }
        Ok(())
    }

    /// Whether nobody had it, and it is gone, or would be.
    fn take(&mut self, path: &Path) -> Result<bool, FileError> {
        let Some(_lock) = lock::take(path, Hold::Exclusive)? else {
            return Ok(false);
        };
        let bytes = size(path).map_err(FileError::at("looking at", path))?;
        if !self.dry_run {
            files::remove(path)?;
        }
        let path = path.to_owned();
        self.garbage.push(Garbage { path, bytes });
        Ok(true)
    }

    /// Removes a lock file, unless somebody has it.
    fn take_lock(&self, path: &Path) -> Result<(), FileError> {
        match lock::take(path, Hold::Exclusive)? {
            Some(_lock) => files::remove(path),
            None => Ok(()),
        }
    }
}

fn is_old(path: &Path) -> bool {
    let changed = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| {
        SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age >= MAKING)
    })
}

/// Bytes that a file takes of the disk, or the files below a directory of ours. A guest's memory is
/// mostly holes.
pub(crate) fn size(path: &Path) -> io::Result<u64> {
    /// `st_blocks` counts in these, in bytes, whatever the file system has.
    const BLOCK: u64 = 512;
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * BLOCK);
    }
    std::fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
}

#[cfg(test)]
mod tests;
