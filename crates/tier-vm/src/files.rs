//! Files and directories of ours: private, made aside, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::lock::{Hold, try_lock};
use crate::places::ASIDE;

/// The host failed at something with a file.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}; {}", path.display(), advice(source))]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: the host failed while `doing` something with `path`.
    pub(crate) fn at<E: Into<io::Error>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |error| Self {
            doing,
            path: path.to_owned(),
            source: error.into(),
        }
    }

    /// What the host said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space and try again"
        }
        io::ErrorKind::PermissionDenied => {
            "check the owner and the permissions of this path; tier microvm needs root"
        }
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::ReadOnlyFilesystem => "put the data directory on a writable file system",
        io::ErrorKind::Unsupported => "this needs Linux 5.6 or newer",
        _ => "check the disk and the system's log, and try again",
    }
}

/// Makes `path` a directory of ours that nobody else can enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::at("making", path))?;
    let metadata = fs::symlink_metadata(path).map_err(FileError::at("looking at", path))?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "it is not our directory");
        return Err(FileError::at("using", path)(source));
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(FileError::at("closing to others", path))?;
    }
    Ok(())
}

/// The names in a directory, sorted; none where it is absent.
pub(crate) fn names(path: &Path) -> Result<Vec<OsString>, FileError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::at("listing", path))?,
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(FileError::at("listing", path))?;
    names.sort();
    Ok(names)
}

/// Reads at most `limit` bytes and one, by which the caller sees that there are more.
pub(crate) fn read_to(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A new file of ours.
pub(crate) fn create(path: &Path) -> Result<File, FileError> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::at("making", path))
}

/// Puts `bytes` into a new file with permissions `mode`, and on the disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = create(path)?;
    file.write_all(bytes)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .map_err(FileError::at("writing", path))
}

/// What tells a file from every other that has or had its name: it was not written since, nor made anew.
pub(crate) fn identity(file: &File) -> io::Result<String> {
    let of = file.metadata()?;
    Ok(format!(
        "{}-{}.{:09}",
        of.ino(),
        of.ctime(),
        of.ctime_nsec()
    ))
}

/// Makes sure that the names in a directory outlive a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(FileError::at("syncing", path))
}

/// A file or directory that is being made beside where it will be. Locked while its maker lives;
/// removed if it comes to nothing, by us or, when we were killed, by a garbage collection.
pub(crate) struct Aside {
    path: PathBuf,
    lock: File,
}

impl Aside {
    /// A new, empty file in `directory`.
    pub(crate) fn file(directory: &Path) -> Result<Self, FileError> {
        let path = directory.join(format!("{ASIDE}{}", uuid::Uuid::new_v4().simple()));
        let lock = create(&path)?;
        Self::locked(path, lock)
    }

    /// A new, empty directory in `directory`.
    pub(crate) fn directory(directory: &Path) -> Result<Self, FileError> {
        let path = directory.join(format!("{ASIDE}{}", uuid::Uuid::new_v4().simple()));
        private_dir(&path)?;
        let lock = File::open(&path).map_err(FileError::at("opening", &path))?;
        Self::locked(path, lock)
    }

    fn locked(path: PathBuf, lock: File) -> Result<Self, FileError> {
        try_lock(&lock, Hold::Exclusive).map_err(FileError::at("locking", &path))?;
        Ok(Self { path, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, or directory.
    pub(crate) const fn file_of(&self) -> &File {
        &self.lock
    }

    /// Gives it its name, for good. What had the name is replaced, if it is a file.
    pub(crate) fn place(self, to: &Path) -> Result<(), FileError> {
        self.lock
            .sync_all()
            .map_err(FileError::at("syncing", &self.path))?;
        fs::rename(&self.path, to).map_err(FileError::at("renaming to", to))?;
        to.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Placed, it is not there any more, and the name is random.
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, "left for the next garbage collection");
        }
    }
}

/// Removes a file or a directory with what is in it. What is absent is removed.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::at("removing", path)(error))
        }
        _ => Ok(()),
    }
}
