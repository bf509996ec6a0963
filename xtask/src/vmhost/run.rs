//! What one run has to itself.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::cache::{Cache, open_lock, remove};

/// Consoles of earlier runs that are kept.
const KEPT_LOGS: usize = 20;

/// One run's directory. It goes when this does.
pub(super) struct Run {
    path: PathBuf,
    console: PathBuf,
    _lock: File,
}

impl Run {
    /// Makes the directory of a new run. Removes those of runs that were killed.
    pub(super) fn begin(cache: &Cache) -> Result<Self> {
        let _lock = cache.lock()?;
        let (runs, logs) = (cache.path.join("runs"), cache.path.join("logs"));
        for entry in std::fs::read_dir(&runs).into_iter().flatten().flatten() {
            if is_orphan(&entry.path()) {
                remove(&entry.path())?;
            }
        }
        prune_logs(&logs);

        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let id = format!("{}-{}", since.as_secs(), std::process::id());
        let path = runs.join(&id);
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let lock = open_lock(&path.join("lock"))?;
        lock.lock()
            .with_context(|| format!("locking {}", path.display()))?;
        Ok(Self {
            path,
            console: logs.join(id),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The log of the machine's console, which stays.
    pub(super) fn console(&self) -> &Path {
        &self.console
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What is left is removed by the next run.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn is_orphan(run: &Path) -> bool {
    match File::open(run.join("lock")) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        // Whoever made it ended before it could lock it: that is done under the cache's lock, which we hold.
        Err(_) => true,
    }
}

fn prune_logs(logs: &Path) {
    let entries = std::fs::read_dir(logs);
    let mut logs: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    // Their names begin with the time.
    logs.sort();
    for old in logs.iter().rev().skip(KEPT_LOGS) {
        // One that stays is no harm.
        let _ = std::fs::remove_file(old);
    }
}

/// The end of a log that may have anything in it.
pub(super) fn last_lines(path: &Path, count: usize) -> String {
    let log = std::fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).replace('\r', "");
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmhost::cache::tests::cache;

    #[test]
    fn a_run_removes_those_that_were_killed_and_no_other() {
        let (_directory, cache) = cache();
        let killed = cache.path.join("runs/killed");
        std::fs::create_dir(&killed).unwrap();
        std::fs::write(killed.join("lock"), "").unwrap();
        let living = cache.path.join("runs/living");
        std::fs::create_dir(&living).unwrap();
        let lock = open_lock(&living.join("lock")).unwrap();
        lock.lock().unwrap();

        let run = Run::begin(&cache).unwrap();
        assert!(!killed.exists() && living.exists());
        let path = run.path().to_owned();
        drop(run);
        assert!(!path.exists());
    }
}
