//! Storing a machine: its memory and its state, in two files.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::Machine;
use super::error::MachineError;
use super::user::MachineUser;
use crate::api::{SnapshotCreate, SnapshotType};

/// The files' names, in a directory of snapshots and in the jail.
pub(crate) const MEMORY: &str = "memory";
pub(crate) const STATE: &str = "state";

/// Room in a file for what is not memory, in bytes: Firecracker's state of a machine is some tens of
/// kilobytes.
const STATE_BYTES: u64 = 4 << 20;

/// A stored machine. Many can be restored from it: the files are mapped, and not changed.
#[derive(Debug)]
pub struct SnapshotFiles {
    /// The guest's memory.
    pub memory: File,
    /// Everything else.
    pub state: File,
}

impl SnapshotFiles {
    /// The machine that was stored in `directory`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let open = |name| {
            File::options()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW)
                .open(directory.join(name))
        };
        Ok(Self {
            memory: open(MEMORY)?,
            state: open(STATE)?,
        })
    }
}

/// Where a machine is to be stored: two new files, which are its user's until that is done.
#[derive(Debug)]
pub struct SnapshotTarget {
    pub(super) memory: File,
    pub(super) state: File,
}

impl SnapshotTarget {
    /// Makes the files `memory` and `state` in `directory`, which nobody but us may enter.
    ///
    /// # Errors
    /// If they are there already, or cannot be made.
    pub fn create(directory: &Path) -> io::Result<Self> {
        let create = |name| {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(directory.join(name))
        };
        Ok(Self {
            memory: create(MEMORY)?,
            state: create(STATE)?,
        })
    }

    /// Largest file that storing a machine of this memory writes, in bytes.
    pub(super) fn largest_file(memory_mib: u32) -> u64 {
        (u64::from(memory_mib) << 20) + STATE_BYTES
    }

    pub(super) fn give_to(&self, user: &MachineUser) -> io::Result<()> {
        let number = Some(user.number());
        for file in [&self.memory, &self.state] {
            fchown(file, number, number)?;
        }
        Ok(())
    }

    /// Takes the files back: nobody can change them any more, and every machine may read them.
    fn seal(&self) -> io::Result<()> {
        for file in [&self.memory, &self.state] {
            fchown(file, Some(0), Some(0))?;
            file.set_permissions(Permissions::from_mode(0o444))?;
        }
        Ok(())
    }
}

impl Machine {
    /// Stores the machine in the files it was booted with, and ends it: it is not to live twice. They
    /// are ours again when nobody is left who could write them.
    ///
    /// # Errors
    /// [`MachineError`]; what is in the files is then to be thrown away.
    pub async fn snapshot(mut self) -> Result<(), MachineError> {
        const STORING: &str = "storing the machine";
        let target = self.target.take().ok_or(MachineError::NoTarget)?;
        let create = SnapshotCreate {
            snapshot_type: SnapshotType::Full,
            snapshot_path: format!("/{STATE}"),
            mem_file_path: format!("/{MEMORY}"),
        };
        let stored = async {
            self.api.pause().await?;
            self.api.create_snapshot(&create).await
        };
        self.asking(STORING, stored).await?;
        self.end().await?;
        target.seal().map_err(|source| MachineError::Files {
            doing: STORING,
            source,
        })
    }
}
