//! Where things stand in a runner's own mount namespace.
//!
//! A runner mounts one private tmpfs, the *stage*, and puts everything of its sandbox on it. The
//! kernel takes the whole of it away with the runner, however that ends.

use std::path::{Path, PathBuf};

/// Where it is mounted, in the runner's own mount namespace: on the host nothing is seen there. Every
/// system has this directory, and every user may search it, as the sandbox's users must.
const PLACE: &str = "/tmp";

/// The layout of a stage. Both sides use it: the engine names these paths in the container's
/// `config.json`, the runner makes what stands there.
#[derive(Clone, Debug)]
pub struct Stage(PathBuf);

impl Default for Stage {
    fn default() -> Self {
        Self(PLACE.into())
    }
}

impl Stage {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The bundle that libcontainer reads.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    /// The container's root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// Libcontainer's state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// What the tool reads: mounted read-only.
    #[must_use]
    pub fn input(&self) -> PathBuf {
        self.0.join("input")
    }

    /// The input document, `/axocoatl/input.json` in the container.
    #[must_use]
    pub fn input_file(&self) -> PathBuf {
        self.input().join("input.json")
    }

    /// What the tool writes: one bounded tmpfs.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// `/axocoatl` in the container.
    #[must_use]
    pub fn axocoatl(&self) -> PathBuf {
        self.scratch().join("axocoatl")
    }

    /// `/tmp` in the container.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.scratch().join("tmp")
    }

    /// `/dev/shm` in the container.
    #[must_use]
    pub fn shm(&self) -> PathBuf {
        self.scratch().join("shm")
    }

    /// A granted mount, counted from 0.
    #[must_use]
    pub fn mount(&self, number: usize) -> PathBuf {
        self.0.join("mounts").join(number.to_string())
    }
}
