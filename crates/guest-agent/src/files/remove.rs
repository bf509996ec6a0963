//! Removing a file or a directory with what is in it.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use axo_guest_proto::files::Place;
use axo_guest_proto::{Failure, Reply};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, Result};

use super::at_place;
use super::beneath::{fresh_name, root_of};
use super::change::done;

/// How deep directories are held open. What is deeper is moved up first: a tree can be deeper than a
/// stack or a table of descriptors.
const DEPTH: usize = 32;

/// How often something is tried that others put new files into.
const TRIES: usize = 16;

pub(super) fn remove(place: &Place, recursive: bool) -> std::result::Result<Reply, Failure> {
    let removed = root_of(place).and_then(|root| {
        let (parent, name) = root.parent(&place.path)?;
        match unlinkat(&parent, &name, AtFlags::empty()) {
            // What Linux says of a directory; POSIX says EPERM.
            Err(Errno::ISDIR | Errno::PERM) => {}
            result => return result,
        }
        if !recursive {
            return unlinkat(&parent, &name, AtFlags::REMOVEDIR);
        }
        remove_tree(parent.as_fd(), &name)
    });
    done(removed.map_err(at_place("removing", place)))
}

fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let top = open(parent, name)?;
    let mut moved = 0;
    for _ in 0..TRIES {
        // Again as long as directories were moved up.
        loop {
            let before = moved;
            empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
            if moved == before {
                break;
            }
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            result => return result,
        }
    }
    Err(Errno::NOTEMPTY)
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Removes what is in a directory. `moved` counts what was moved up to the top instead.
fn empty(
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match unlinkat(directory, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                Err(Errno::NOENT) | Ok(()) => continue,
                Err(e) => return Err(e),
            }
        }
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        if depth >= DEPTH {
            move_up(directory, name, top, moved)?;
            continue;
        }
        let below = open(directory, name)?;
        empty(top, below.as_fd(), depth + 1, moved)?;
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn move_up(
    directory: BorrowedFd<'_>,
    name: &CStr,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> Result<()> {
    *moved += 1;
    renameat(directory, name, top, fresh_name())
}
