//! Where the tier's files are, beneath the engine's data directory.

use std::path::{Path, PathBuf};

/// The directory `microvm` and what is in it. All of it is ours alone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub(crate) fn of(data: &Path) -> Self {
        Self {
            root: data.join("microvm"),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// One directory for everything that was ever installed, by a name of its own.
    pub(crate) fn setups(&self) -> PathBuf {
        self.root.join("setups")
    }

    /// A link to the directory in `setups` that counts.
    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.root.join("initramfs")
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Held by whoever installs or removes.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// What is made aside begins like this until it is whole.
pub(crate) const ASIDE: &str = ".new-";
