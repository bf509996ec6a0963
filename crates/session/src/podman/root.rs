//! The root file system of a probe: a directory with one program.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::PodmanError;

/// Where the program is in the container.
pub(super) const PROGRAM: &str = "/agent";
/// What the names of everything that a probe makes begin with.
pub(super) const PREFIX: &str = "axo-probe-";

/// A root file system, removed when dropped.
#[derive(Debug)]
pub(super) struct ProbeRoot {
    path: PathBuf,
}

impl ProbeRoot {
    /// Makes one of that name in a directory, which is made if it is missing.
    pub(super) fn make(directory: &Path, name: &str, program: &Path) -> Result<Self, PodmanError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| PodmanError::File {
                doing,
                path,
                source,
            }
        };
        std::fs::create_dir_all(directory).map_err(failed("making", directory))?;
        // Podman and the kernel look at it from another directory, and perhaps through links.
        let directory = directory
            .canonicalize()
            .map_err(failed("entering", directory))?;
        let root = Self {
            path: directory.join(name),
        };
        std::fs::create_dir(&root.path).map_err(failed("making", &root.path))?;
        let inside = root.path.join(PROGRAM.trim_start_matches('/'));
        std::fs::copy(program, &inside).map_err(failed("copying", program))?;
        make_usable(&root.path).map_err(failed("opening", &root.path))?;
        make_usable(&inside).map_err(failed("opening", &inside))?;
        Ok(root)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ProbeRoot {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a probe's root remains; it is removed later");
        }
    }
}

/// Lets the container's user, whoever that is, read and execute.
#[cfg(unix)]
fn make_usable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_usable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Removes what probes of processes that were killed left in a directory: older than any probe lives.
pub(super) fn reap(directory: &Path, age: Duration) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let made = entry.metadata().and_then(|m| m.modified());
        let old = made.is_ok_and(|made| {
            SystemTime::now()
                .duration_since(made)
                .is_ok_and(|since| since > age)
        });
        if ours && old && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // What another process removes at the same time is gone as well.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_gone_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("made/when/missing");
        let root = ProbeRoot::make(&state, "axo-probe-1", Path::new("/bin/sh")).unwrap();
        assert!(root.path().join("agent").is_file());
        drop(root);
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    }

    #[test]
    fn only_old_roots_of_ours_are_reaped() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["axo-probe-old", "podman.json", "other"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        reap(directory.path(), Duration::from_secs(3600));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        std::thread::sleep(Duration::from_millis(20));
        reap(directory.path(), Duration::from_millis(1));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
