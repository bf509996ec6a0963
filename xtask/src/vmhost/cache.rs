//! What is kept between runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The cache's directory:
///
/// ```text
/// lock        held while something is added, and while runs begin
/// packages/   unpacked packages, each complete from the moment it has its name
/// new/        one about to be
/// runs/ID/    of a run, which holds a lock on ID/lock; without that it belongs to nobody
/// logs/ID     consoles
/// ```
pub(super) struct Cache {
    pub(super) path: PathBuf,
}

impl Cache {
    pub(super) fn open() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = match variable("AXO_VMHOST_CACHE") {
            Some(path) => PathBuf::from(path),
            None => match variable("XDG_CACHE_HOME") {
                Some(caches) => PathBuf::from(caches),
                None => PathBuf::from(variable("HOME").context("HOME is not set")?).join(".cache"),
            }
            .join("axocoatl-vmhost"),
        };
        for directory in ["packages", "runs", "logs"] {
            let directory = path.join(directory);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        let path = path
            .canonicalize()
            .with_context(|| format!("resolving {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where a package is, once it is there.
    pub(super) fn package(&self, name: &str) -> PathBuf {
        self.path.join("packages").join(name)
    }

    /// The newest of the packages with a name that begins so.
    pub(super) fn newest_package(&self, prefix: &str) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.path.join("packages")).ok()?;
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
            .map(|entry| entry.path())
    }

    /// The package of that name, made by `make` in the directory it is given if it is not there yet.
    /// Two that want it at once make it once.
    pub(super) fn package_or(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let package = self.package(name);
        let _lock = self.lock()?;
        if package.is_dir() {
            return Ok(package);
        }
        let new = self.path.join("new");
        // Of one that was interrupted.
        remove(&new)?;
        std::fs::create_dir(&new).with_context(|| format!("making {}", new.display()))?;
        let made = make(&new).and_then(|()| {
            std::fs::rename(&new, &package).with_context(|| format!("renaming {}", new.display()))
        });
        if made.is_err() {
            remove(&new)?;
        }
        made.map(|()| package)
    }

    pub(super) fn lock(&self) -> Result<File> {
        let path = self.path.join("lock");
        let lock = open_lock(&path)?;
        lock.lock()
            .with_context(|| format!("locking {}", path.display()))?;
        Ok(lock)
    }
}

pub(super) fn open_lock(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::vmhost) fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["packages", "runs", "logs"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let path = directory.path().to_owned();
        (directory, Cache { path })
    }

    #[test]
    fn a_package_is_made_once_and_a_failed_one_not_kept() {
        let (_directory, cache) = cache();
        let failed = cache.package_or("a", |_| anyhow::bail!("no"));
        assert!(failed.is_err() && !cache.package("a").exists());
        let made = cache.package_or("a", |new| Ok(std::fs::write(new.join("f"), "1")?));
        assert!(made.unwrap().join("f").is_file());
        let again = cache.package_or("a", |_| unreachable!());
        assert_eq!(again.unwrap(), cache.newest_package("a").unwrap());
    }
}
