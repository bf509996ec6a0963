//! Files that are made at their first use and kept under a name that says what is in them.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::files::{self, Aside, FileError};
use crate::lock::{self, Hold, LockError};

/// How long to wait for another process to finish making the same file: a disk of 16 GiB takes
/// minutes.
const MAKE_WAIT: Duration = Duration::from_secs(30 * 60);

/// How long to try to open what others remove as soon as it is there.
const OPEN_WAIT: Duration = Duration::from_secs(10);

/// A pause where somebody else is about to name or remove what we want.
const PAUSE: Duration = Duration::from_millis(1);

/// The ending of the file that is locked while the one beside it is made.
pub(crate) const LOCK: &str = ".lock";

/// Opens `directory/name` for reading, with a shared lock; has `make` make it if it is not there: once,
/// however many processes ask at the same time. Others can read it, and nobody can write.
pub(crate) fn open_or_make<E>(
    directory: &Path,
    name: &str,
    make: impl Fn(&Aside) -> Result<(), E>,
) -> Result<File, E>
where
    E: From<FileError> + From<LockError>,
{
    let path = directory.join(name);
    let doing = format!("making {}", path.display());
    let mut started = Instant::now();
    loop {
        if let Some(file) = lock::take(&path, Hold::Shared)? {
            return Ok(file);
        }
        if !path.exists() {
            files::private_dir(directory)?;
            let _making = lock::wait(&lock_of(&path), &doing, MAKE_WAIT)?;
            // Whoever had the lock before us may have made it.
            if !path.exists() {
                let aside = Aside::file(directory)?;
                make(&aside)?;
                let readable = Permissions::from_mode(0o444);
                aside
                    .file_of()
                    .set_permissions(readable)
                    .map_err(FileError::at("writing", aside.path()))?;
                aside.place(&path)?;
                started = Instant::now();
            }
        } else if started.elapsed() > OPEN_WAIT {
            let seconds = OPEN_WAIT.as_secs();
            return Err(LockError::Busy { doing, seconds }.into());
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

pub(crate) fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_many_want_at_once_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let made = AtomicU32::new(0);
        let want = || {
            let file = open_or_make::<LockError>(home.path(), "it", |aside| {
                made.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
                aside.file_of().write_all(b"whole").unwrap();
                Ok(())
            });
            let mut file = file.unwrap();
            assert_eq!(files::read_to(&mut file, 100).unwrap(), b"whole");
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o444);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(want);
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let failed = open_or_make(home.path(), "it", |aside| {
            aside.file_of().write_all(b"half").unwrap();
            let error = std::io::Error::other("no");
            Err(LockError::File(FileError::at("trying", aside.path())(
                error,
            )))
        });
        assert!(failed.is_err());
        assert_eq!(files::names(home.path()).unwrap(), ["it.lock"]);
    }
}
