//! What a tool may do to the files it can reach, beyond what WASI itself checks.
//!
//! WASI knows directories that may be read or written. The contract asks for more: the input is
//! read-only in a directory where the output is written; scratch space, files and descriptors have
//! limits; nothing is moved between a mount and scratch; opening a FIFO in a mount must not hang a
//! thread of the host. This module judges; `p1` and `p2` ask it before they let WASI act.
//!
//! Descriptors are known by their number and the zone they lie in. What is opened through a
//! directory lies in the directory's zone, because WASI lets no path leave its directory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::quota::Quota;
use crate::scratch::{INPUT_FILE, Scratch};

/// A part of the tool's file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Zone {
    /// `/axocoatl`: the input, and the output if the tool writes one.
    Exchange,
    /// `/tmp`.
    Temporary,
    /// A granted directory, by its number among them.
    Mount(usize),
}

impl Zone {
    /// The zones of the preopened directories, in the order in which they are given to WASI.
    pub(crate) fn preopened(mounts: usize) -> impl Iterator<Item = Self> {
        [Self::Exchange, Self::Temporary]
            .into_iter()
            .chain((0..mounts).map(Self::Mount))
    }

    fn is_scratch(self) -> bool {
        !matches!(self, Self::Mount(_))
    }
}

/// Why the guard refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It would change the input.
    ReadOnly,
    /// The scratch is full, of bytes or of files.
    NoSpace,
    /// It is not done in this zone.
    NotPermitted,
    /// It would move or link between zones.
    CrossZone,
    /// Too many descriptors are open.
    TooManyFiles,
}

/// How a file is to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opening {
    /// Made if it is not there.
    pub(crate) create: bool,
    /// Written, or cut to nothing.
    pub(crate) write: bool,
}

/// The guard of one call.
pub(crate) struct Guard {
    known: HashMap<u32, Known>,
    /// Descriptors that the tool opened, and the most it may have.
    opened: usize,
    files: usize,
    /// Listings of directories that are open.
    listings: usize,
    quota: Arc<Mutex<Quota>>,
}

/// Most listings of directories open at once: each holds all names of its directory.
const MAX_LISTINGS: usize = 8;

/// A descriptor.
#[derive(Clone, Copy)]
struct Known {
    zone: Zone,
    preopened: bool,
}

impl Guard {
    /// Guards `scratch`, which may take `disk` bytes and have `files` descriptors open.
    pub(crate) fn new(scratch: &Scratch, disk: u64, files: u32) -> std::io::Result<Self> {
        Ok(Self {
            known: HashMap::new(),
            opened: 0,
            files: files as usize,
            listings: 0,
            quota: Arc::new(Mutex::new(Quota::new(scratch.path().to_owned(), disk)?)),
        })
    }

    /// Notes the descriptor of a preopened directory.
    pub(crate) fn preopen(&mut self, descriptor: u32, zone: Zone) {
        self.known.insert(
            descriptor,
            Known {
                zone,
                preopened: true,
            },
        );
    }

    /// The zone of a descriptor; `None` for standard streams and what does not exist.
    pub(crate) fn zone(&self, descriptor: u32) -> Option<Zone> {
        self.known.get(&descriptor).map(|known| known.zone)
    }

    /// Before a path is opened through `directory`.
    pub(crate) fn may_open(&self, directory: u32, path: &str, how: Opening) -> Result<(), Refusal> {
        let Some(zone) = self.zone(directory) else {
            return Ok(());
        };
        if self.opened >= self.files {
            return Err(Refusal::TooManyFiles);
        }
        if zone == Zone::Exchange && (how.create || how.write) {
            may_change_in_exchange(path)?;
        }
        if how.create && zone.is_scratch() {
            self.quota().take_file()?;
        }
        Ok(())
    }

    /// After it was opened.
    pub(crate) fn opened(&mut self, directory: u32, descriptor: u32) {
        if let Some(zone) = self.zone(directory) {
            self.known.insert(
                descriptor,
                Known {
                    zone,
                    preopened: false,
                },
            );
            self.opened += 1;
        }
    }

    /// After a descriptor was closed.
    pub(crate) fn closed(&mut self, descriptor: u32) {
        if self
            .known
            .remove(&descriptor)
            .is_some_and(|known| !known.preopened)
        {
            self.opened = self.opened.saturating_sub(1);
        }
    }

    /// After descriptor `from` became `to`, and what was `to` was closed.
    pub(crate) fn renumbered(&mut self, from: u32, to: u32) {
        self.closed(to);
        if let Some(known) = self.known.remove(&from) {
            self.known.insert(to, known);
        }
    }

    /// Before a directory is listed.
    pub(crate) fn may_list(&self) -> Result<(), Refusal> {
        if self.listings < MAX_LISTINGS {
            Ok(())
        } else {
            Err(Refusal::TooManyFiles)
        }
    }

    /// After a listing was opened.
    pub(crate) fn listing_opened(&mut self) {
        self.listings += 1;
    }

    /// After a listing was closed.
    pub(crate) fn listing_closed(&mut self) {
        self.listings = self.listings.saturating_sub(1);
    }

    /// Before `bytes` are written to a file.
    pub(crate) fn may_write(&self, descriptor: u32, bytes: u64) -> Result<(), Refusal> {
        match self.zone(descriptor) {
            Some(zone) if zone.is_scratch() => self.quota().take_bytes(bytes),
            _ => Ok(()),
        }
    }

    /// Before a directory is made.
    pub(crate) fn may_make_directory(&self, directory: u32) -> Result<(), Refusal> {
        match self.zone(directory) {
            Some(Zone::Exchange) => Err(Refusal::NotPermitted),
            Some(Zone::Temporary) => self.quota().take_directory(),
            _ => Ok(()),
        }
    }

    /// Before a symbolic link is made.
    pub(crate) fn may_symlink(&self, directory: u32) -> Result<(), Refusal> {
        match self.zone(directory) {
            Some(Zone::Exchange) => Err(Refusal::NotPermitted),
            Some(Zone::Temporary) => self.quota().take_file(),
            _ => Ok(()),
        }
    }

    /// Before a hard link is made.
    pub(crate) fn may_link(&self, from: u32, to: u32) -> Result<(), Refusal> {
        self.same_zone(from, to)?;
        self.may_symlink(to)
    }

    /// Before something is renamed.
    pub(crate) fn may_rename(
        &self,
        from: u32,
        old: &str,
        to: u32,
        new: &str,
    ) -> Result<(), Refusal> {
        self.same_zone(from, to)?;
        if self.zone(from) == Some(Zone::Exchange) {
            may_change_in_exchange(old)?;
            may_change_in_exchange(new)?;
        }
        Ok(())
    }

    /// Before a file is removed.
    pub(crate) fn may_unlink(&self, directory: u32, path: &str) -> Result<(), Refusal> {
        if self.zone(directory) == Some(Zone::Exchange) {
            may_change_in_exchange(path)?;
        }
        Ok(())
    }

    /// The quota, for streams that outlive the question.
    pub(crate) fn shared_quota(&self) -> Arc<Mutex<Quota>> {
        Arc::clone(&self.quota)
    }

    fn same_zone(&self, from: u32, to: u32) -> Result<(), Refusal> {
        if self.zone(from) == self.zone(to) {
            Ok(())
        } else {
            Err(Refusal::CrossZone)
        }
    }

    fn quota(&self) -> std::sync::MutexGuard<'_, Quota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/axocoatl` has no directories, so a path that changes something in it is one plain name.
fn may_change_in_exchange(path: &str) -> Result<(), Refusal> {
    let mut name = path;
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    if name == INPUT_FILE {
        Err(Refusal::ReadOnly)
    } else if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        Err(Refusal::NotPermitted)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{MAX_DIRECTORIES, MAX_FILES};

    const EXCHANGE: u32 = 3;
    const TEMPORARY: u32 = 4;
    const MOUNT: u32 = 5;
    const WRITE: Opening = Opening {
        create: true,
        write: true,
    };
    const READ: Opening = Opening {
        create: false,
        write: false,
    };

    fn guard(disk: u64, files: u32) -> (tempfile::TempDir, Scratch, Guard) {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(root.path(), "call", b"{}").unwrap();
        let mut guard = Guard::new(&scratch, disk, files).unwrap();
        for (descriptor, zone) in (EXCHANGE..).zip(Zone::preopened(1)) {
            guard.preopen(descriptor, zone);
        }
        (root, scratch, guard)
    }

    #[test]
    fn the_input_cannot_be_changed_under_any_spelling() {
        let (_root, _scratch, guard) = guard(1 << 20, 10);
        for name in ["input.json", "./input.json", "././input.json"] {
            assert_eq!(
                guard.may_open(EXCHANGE, name, WRITE),
                Err(Refusal::ReadOnly)
            );
            assert_eq!(guard.may_unlink(EXCHANGE, name), Err(Refusal::ReadOnly));
            assert!(
                guard
                    .may_rename(EXCHANGE, "output.json", EXCHANGE, name)
                    .is_err()
            );
            assert!(guard.may_rename(EXCHANGE, name, EXCHANGE, "x").is_err());
            assert!(guard.may_open(EXCHANGE, name, READ).is_ok());
        }
        for path in [
            "x/../input.json",
            "input.json/",
            ".//input.json",
            "../axocoatl/input.json",
            "",
            ".",
        ] {
            assert!(guard.may_open(EXCHANGE, path, WRITE).is_err(), "{path}");
        }
        assert!(guard.may_link(EXCHANGE, EXCHANGE).is_err());
        assert!(guard.may_link(EXCHANGE, TEMPORARY).is_err());
        assert!(guard.may_symlink(EXCHANGE).is_err());
        assert!(guard.may_make_directory(EXCHANGE).is_err());
        assert!(guard.may_open(EXCHANGE, "output.json", WRITE).is_ok());
        assert!(
            guard
                .may_rename(EXCHANGE, "output.tmp", EXCHANGE, "output.json")
                .is_ok()
        );
    }

    #[test]
    fn nothing_moves_between_zones() {
        let (_root, _scratch, guard) = guard(1 << 20, 10);
        for (from, to) in [
            (EXCHANGE, TEMPORARY),
            (TEMPORARY, MOUNT),
            (MOUNT, TEMPORARY),
        ] {
            assert_eq!(
                guard.may_rename(from, "a", to, "a"),
                Err(Refusal::CrossZone)
            );
            assert_eq!(guard.may_link(from, to), Err(Refusal::CrossZone));
        }
    }

    #[test]
    fn descriptors_are_counted_and_keep_their_zone() {
        let (_root, _scratch, mut guard) = guard(1 << 20, 2);
        guard.opened(TEMPORARY, 10);
        guard.opened(10, 11);
        assert_eq!(guard.zone(11), Some(Zone::Temporary));
        assert_eq!(
            guard.may_open(TEMPORARY, "a", READ),
            Err(Refusal::TooManyFiles)
        );
        guard.closed(10);
        assert!(guard.may_open(TEMPORARY, "a", READ).is_ok());
        guard.renumbered(11, 1);
        assert_eq!(
            (guard.zone(11), guard.zone(1)),
            (None, Some(Zone::Temporary))
        );
        // A standard stream put in its place is no file.
        guard.renumbered(0, 1);
        assert_eq!(guard.zone(1), None);
    }

    #[test]
    fn space_runs_out_and_comes_back_when_files_go() {
        let (_root, scratch, guard) = guard(100 << 10, 10);
        let path = scratch.temporary().join("a");
        std::fs::write(&path, vec![1; 96 << 10]).unwrap();
        // The count does not know of that write; it looks when it runs out.
        let mut written = 0;
        while guard.may_write(TEMPORARY, 8 << 10).is_ok() {
            written += 1;
            assert!(written < 100, "never full");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(guard.may_write(TEMPORARY, 8 << 10).is_ok());
        assert!(
            guard.may_write(MOUNT, 1 << 40).is_ok(),
            "a mount is not scratch"
        );
    }

    #[test]
    fn what_is_on_its_way_to_the_disk_counts_as_there() {
        let (_root, _scratch, guard) = guard(1 << 20, 10);
        let quota = guard.shared_quota();
        let mut quota = quota.lock().unwrap();
        let taken = (0..100)
            .take_while(|_| quota.take_pending(128 << 10).is_ok())
            .count();
        assert_eq!(taken, 8, "of 128 KiB each, in 1 MiB");
        quota.arrived(8 * (128 << 10));
        assert!(
            quota.take_pending(128 << 10).is_ok(),
            "nothing was written in the end"
        );
    }

    #[test]
    fn few_listings_are_open_at_once() {
        let (_root, _scratch, mut guard) = guard(1 << 20, 10);
        for _ in 0..MAX_LISTINGS {
            guard.may_list().unwrap();
            guard.listing_opened();
        }
        assert_eq!(guard.may_list(), Err(Refusal::TooManyFiles));
        guard.listing_closed();
        assert!(guard.may_list().is_ok());
    }

    #[test]
    fn a_byte_in_each_block_of_a_sparse_file_counts_as_blocks() {
        let (_root, scratch, guard) = guard(64 << 10, 10);
        let file = std::fs::File::create(scratch.temporary().join("a")).unwrap();
        let mut written = 0u64;
        while guard.may_write(TEMPORARY, 1).is_ok() {
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", written * (1 << 20)).unwrap();
            written += 1;
            assert!(written <= 17, "{written} blocks");
        }
    }

    #[test]
    fn directories_are_bounded_and_with_them_how_deep_they_nest() {
        let (_root, scratch, guard) = guard(1 << 30, 10);
        let mut path = scratch.temporary();
        for _ in 0..MAX_DIRECTORIES {
            guard.may_make_directory(TEMPORARY).unwrap();
            path.push("d");
            std::fs::create_dir(&path).unwrap();
        }
        assert_eq!(guard.may_make_directory(TEMPORARY), Err(Refusal::NoSpace));
        std::fs::remove_dir(&path).unwrap();
        assert!(guard.may_make_directory(TEMPORARY).is_ok());
    }

    #[test]
    fn files_are_bounded() {
        let (_root, scratch, guard) = guard(1 << 30, 10);
        for n in 0..MAX_FILES {
            guard.may_open(TEMPORARY, "a", WRITE).unwrap();
            std::fs::write(scratch.temporary().join(n.to_string()), "").unwrap();
        }
        assert_eq!(guard.may_open(TEMPORARY, "a", WRITE), Err(Refusal::NoSpace));
        assert_eq!(guard.may_symlink(TEMPORARY), Err(Refusal::NoSpace));
    }
}
