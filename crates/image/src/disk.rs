//! Files and directories of the store itself, whose paths are ours.

mod removal;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, statat};
use rustix::io::Errno;

use crate::ImageError;
pub(crate) use removal::{remove_tree, remove_tree_at};

/// Makes `path` a directory of ours that nobody else can enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), ImageError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(ImageError::io("making", path))?;
    let metadata = fs::metadata(path).map_err(ImageError::io("looking at", path))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(ImageError::Io {
            doing: format!(
                "opening the image store, which belongs to user {},",
                metadata.uid()
            ),
            path: path.to_owned(),
            source: io::ErrorKind::PermissionDenied.into(),
        });
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(ImageError::io("closing to others", path))?;
    }
    Ok(())
}

/// The names in a directory; none where it is absent.
pub(crate) fn names(path: &Path) -> Result<Vec<OsString>, ImageError> {
    let doing = "listing";
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(ImageError::io(doing, path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ImageError::io(doing, path)(error)),
    }
}

/// Reads a small file; `None` where it is absent.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io("opening", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(ImageError::io("reading", path))?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::TooLarge {
            what: path.display().to_string(),
            limit,
            unit: "bytes",
            fix: "check whether it is the right file".to_owned(),
        });
    }
    Ok(Some(bytes))
}

/// A new file of ours.
pub(crate) fn create(path: &Path) -> Result<File, ImageError> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(ImageError::io("making", path))
}

/// Puts `bytes` at `path` such that it holds either its old content or these.
pub(crate) fn write_atomic(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let mut file = create(temporary)?;
    file.write_all(bytes)
        .map_err(ImageError::io("writing", temporary))?;
    file.sync_all()
        .map_err(ImageError::io("writing", temporary))?;
    rename(temporary, path)
}

/// Renames, and makes sure that the new name outlives a power cut.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), ImageError> {
    fs::rename(from, to).map_err(ImageError::io("renaming to", to))?;
    if let Some(parent) = to.parent() {
        File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(ImageError::io("syncing", parent))?;
    }
    Ok(())
}

/// Removes a file that may be absent.
pub(crate) fn remove_file(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("removing", path)(error))
        }
        _ => Ok(()),
    }
}

/// Opens a directory for listing and, as its owner, changing it.
pub(crate) fn open_dir_at(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let parent = parent.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // An image may have made it unreadable even for us, its owner. Not a symlink: those
            // end in ELOOP or ENOTDIR, and the tree is ours alone.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(openat(parent, name, flags, Mode::empty())?)
        }
        Err(error) => Err(error.into()),
        Ok(directory) => {
            let stat = rustix::fs::fstat(&directory)?;
            if stat.st_mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
                fchmod(&directory, Mode::RWXU)?;
            }
            Ok(directory)
        }
    }
}

/// The names in an open directory.
pub(crate) fn children(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    Ok(entries(directory)?
        .into_iter()
        .map(|(name, _)| name)
        .collect())
}

/// The names in an open directory, with what they are where its file system says.
fn entries(directory: impl AsFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push((OsString::from_vec(name.to_vec()), entry.file_type()));
        }
    }
    Ok(entries)
}

/// How many bytes `path` and what is below it take on disk. An estimate: what changes meanwhile
/// counts or not.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    usage_at(CWD, path.as_os_str())
}

fn usage_at(parent: impl AsFd, name: &OsStr) -> u64 {
    let parent = parent.as_fd();
    let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return 0;
    };
    let own = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return own;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = openat(parent, name, flags, Mode::empty()) else {
        return own;
    };
    children(&directory)
        .unwrap_or_default()
        .iter()
        .fold(own, |sum, child| sum + usage_at(&directory, child))
}

/// A name as text for messages.
pub(crate) fn shown(bytes: &[u8]) -> String {
    OsStr::from_bytes(bytes)
        .to_string_lossy()
        .chars()
        .take(300)
        .collect()
}
