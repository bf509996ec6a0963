//! What is known about a file.

use std::ffi::CStr;
use std::os::fd::AsFd;

use axo_guest_proto::Failure;
use axo_guest_proto::files::{FileKind, Place, Stat, Time};
use rustix::fs::{AtFlags, FileType, fstat, readlinkat, statat};
use rustix::io::Result;

use super::at_place;
use super::beneath::root_of;

pub(super) fn stat(place: &Place, no_follow: bool) -> std::result::Result<Stat, Failure> {
    let failed = at_place("looking at", place);
    let file = root_of(place)
        .and_then(|root| root.look(&place.path, no_follow))
        .map_err(&failed)?;
    of(file).map_err(failed)
}

/// Of what is open.
pub(super) fn of(file: impl AsFd) -> Result<Stat> {
    let file = file.as_fd();
    let mut stat = convert(&fstat(file)?);
    if stat.kind == FileKind::Link {
        stat.target = Some(readlinkat(file, "", Vec::new())?.into_bytes());
    }
    Ok(stat)
}

/// Of what is in a directory; a link itself.
pub(super) fn of_entry(directory: impl AsFd, name: &CStr) -> Result<Stat> {
    let directory = directory.as_fd();
    let mut stat = convert(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?);
    if stat.kind == FileKind::Link {
        stat.target = Some(readlinkat(directory, name, Vec::new())?.into_bytes());
    }
    Ok(stat)
}

#[expect(
    clippy::unnecessary_cast,
    clippy::cast_possible_truncation,
    reason = "the kernel's fields differ from machine to machine, and hold what these hold"
)]
fn convert(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        size: stat.st_size as u64,
        allocated: (stat.st_blocks as u64).saturating_mul(512),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink as u64,
        inode: stat.st_ino,
        modified: Time {
            seconds: stat.st_mtime as i64,
            nanos: stat.st_mtime_nsec as u32,
        },
        changed: Time {
            seconds: stat.st_ctime as i64,
            nanos: stat.st_ctime_nsec as u32,
        },
        target: None,
    }
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        _ => FileKind::Unknown,
    }
}
