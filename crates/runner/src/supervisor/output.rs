//! The tool's output file, which is whatever the tool has made of it.

use std::fs::File;

use axo_runner::OutputFound;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::stage::Staged;
use super::step::{Failed, Step as _};

/// What is at `/axocoatl/output.json`.
pub(crate) enum Output {
    Absent,
    Refused(String),
    File(File),
}

/// Opens the output file of a tool that has ended. Its directory is held open since before the tool
/// began; nothing but a plain file directly in it is opened, and opening never blocks.
pub(crate) fn open(staged: &Staged) -> Result<Output, Failed> {
    let opened = openat2(
        &staged.axocoatl,
        "output.json",
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    );
    let refused = |why: &str| Ok(Output::Refused(why.to_owned()));
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Output::Absent),
        Err(Errno::LOOP) => return refused("it is a symbolic link"),
        Err(Errno::NXIO | Errno::NODEV) => return refused("it is a socket or a device"),
        Err(Errno::XDEV) => return refused("it is a mount"),
        Err(e) => return Err(e).step("opening the output file"),
    };
    let stat = fstat(&file).step("examining the output file")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink > 1 => refused("it has more than one hard link"),
        FileType::RegularFile => Ok(Output::File(file)),
        FileType::Directory => refused("it is a directory"),
        FileType::Fifo => refused("it is a FIFO"),
        FileType::CharacterDevice | FileType::BlockDevice => refused("it is a device"),
        _ => refused("it is not a regular file"),
    }
}

impl Output {
    pub(crate) fn found(&self) -> OutputFound {
        match self {
            Self::Absent => OutputFound::Absent,
            Self::Refused(why) => OutputFound::Refused(why.clone()),
            Self::File(_) => OutputFound::Opened,
        }
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::File(file) => Some(file),
            _ => None,
        }
    }
}
