//! Removing trees.
//!
//! Where the disk is told of every freed block at once (ext4 without a journal, mounted with
//! `discard`), each file is a wait of about two milliseconds, and an image has tens of thousands.
//! So several threads take the files of a large tree; what they leave, the directories and
//! whatever could not be removed, is then removed one by one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, CWD, FileType, unlinkat};
use rustix::io::Errno;

use super::{children, entries, open_dir_at};
use crate::ImageError;

/// Threads that wait for the disk in place of one.
const REMOVERS: usize = 8;

/// Files below which starting them costs more than it saves.
const MANY_FILES: usize = 1000;

/// Files that one of them takes at a time.
const BATCH: usize = 64;

/// Batches that wait. Each holds a directory open, of the 1024 that a process may have.
const QUEUE: usize = 16;

/// Removes `path` and everything below it, whatever its permissions; symlinks are not followed.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ImageError> {
    remove_many_files(path);
    remove_tree_at(CWD, path.as_os_str()).map_err(ImageError::io("removing", path))
}

/// The same for `name` in an open directory.
pub(crate) fn remove_tree_at(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let parent = parent.as_fd();
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = open_dir_at(parent, name)?;
    for child in children(&directory)? {
        remove_tree_at(&directory, &child)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Removes the files below `path`, if they are many. What fails is left.
fn remove_many_files(path: &Path) {
    let open = || open_dir_at(CWD, path.as_os_str());
    let mut few = MANY_FILES;
    if !open().is_ok_and(|root| has_more_files(&root, &mut few)) {
        return;
    }
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        for _ in 0..REMOVERS {
            let receiver = Arc::clone(&receiver);
            // Fewer will do. Without any there is nobody to hand out to, and that ends at once.
            let _ = thread::Builder::new().spawn_scoped(scope, move || remove_files(&receiver));
        }
        drop(receiver);
        let _ = open().and_then(|root| hand_out(root, &sender));
        drop(sender);
    });
}

/// Some files of a directory.
struct Files {
    directory: Arc<OwnedFd>,
    names: Vec<OsString>,
}

fn remove_files(receiver: &Mutex<Receiver<Files>>) {
    let next = || {
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv()
    };
    while let Ok(files) = next() {
        for name in files.names {
            let _ = unlinkat(&files.directory, name, AtFlags::empty());
        }
    }
}

/// Sends all files below a directory.
fn hand_out(directory: OwnedFd, to: &SyncSender<Files>) -> io::Result<()> {
    let directory = Arc::new(directory);
    let Listing { files, directories } = Listing::of(&directory)?;
    for names in files.chunks(BATCH) {
        let files = Files {
            directory: Arc::clone(&directory),
            names: names.to_vec(),
        };
        to.send(files).map_err(io::Error::other)?;
    }
    for name in directories {
        hand_out(open_dir_at(&directory, &name)?, to)?;
    }
    Ok(())
}

/// Whether there are more than `few` files below a directory.
fn has_more_files(directory: &OwnedFd, few: &mut usize) -> bool {
    let Ok(listing) = Listing::of(directory) else {
        return false;
    };
    match few.checked_sub(listing.files.len()) {
        None => return true,
        Some(left) => *few = left,
    }
    listing
        .directories
        .iter()
        .filter_map(|name| open_dir_at(directory, name).ok())
        .any(|below| has_more_files(&below, few))
}

/// What is in a directory, as far as its file system says.
#[derive(Default)]
struct Listing {
    files: Vec<OsString>,
    directories: Vec<OsString>,
}

impl Listing {
    fn of(directory: &OwnedFd) -> io::Result<Self> {
        let mut listing = Self::default();
        for (name, kind) in entries(directory)? {
            match kind {
                FileType::Directory => listing.directories.push(name),
                // It does not say.
                FileType::Unknown => {}
                _ => listing.files.push(name),
            }
        }
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Directories in directories, some closed, with files and links to what is outside.
    fn tree(root: &Path, outside: &Path, files: usize) {
        let mut directory = root.to_owned();
        for number in 0..files {
            if number % 100 == 0 {
                directory = if number % 300 == 0 { root } else { &directory }.join("deeper");
                directory.push(number.to_string());
                fs::create_dir_all(&directory).unwrap();
                symlink(outside, directory.join("link")).unwrap();
            }
            fs::write(directory.join(number.to_string()), "x").unwrap();
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o0)).unwrap();
    }

    #[test]
    fn trees_of_any_size_are_removed_and_links_not_followed() {
        for files in [1, MANY_FILES - 10, 5 * MANY_FILES] {
            let home = tempfile::tempdir().unwrap();
            let (root, outside) = (home.path().join("root"), home.path().join("outside"));
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("file"), "x").unwrap();
            tree(&root, &outside, files);
            remove_tree(&root).unwrap();
            assert!(!root.exists() && outside.join("file").exists(), "{files}");
        }
    }

    #[test]
    fn what_is_no_tree_is_removed_as_well() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        remove_tree(&path).unwrap();
        fs::write(&path, "x").unwrap();
        remove_tree(&path).unwrap();
        assert!(!path.exists());
    }
}
