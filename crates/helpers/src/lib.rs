//! The programs that the engine starts, here and inside sandboxes: built statically with this crate,
//! carried in it, and handed out as sealed memory files, which nothing can change any more
//! (CVE-2019-5736), or as their bytes.
#![warn(missing_docs)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

static RUNNER: Helper = Helper {
    name: "axo-runner",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/axo-runner")),
    sealed: Mutex::new(None),
};

/// The supervisor of one sandbox, `axo-runner`.
#[must_use]
pub fn runner() -> &'static Helper {
    &RUNNER
}

static GUEST_AGENT: Helper = Helper {
    name: "axo-guest-agent",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/axo-guest-agent")),
    sealed: Mutex::new(None),
};

/// The program that runs commands inside a session or a microVM, `axo-guest-agent`. There its
/// [bytes](Helper::bytes) are given it as a file that it cannot write.
#[must_use]
pub fn guest_agent() -> &'static Helper {
    &GUEST_AGENT
}

/// A program that this library carries.
pub struct Helper {
    name: &'static str,
    bytes: &'static [u8],
    sealed: Mutex<Option<File>>,
}

/// Why a helper cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[error(
    "making a memory file of the helper {name}; does the host forbid executing them (sysctl vm.memfd_noexec=2)?"
)]
pub struct HelperError {
    name: &'static str,
    source: std::io::Error,
}

impl Helper {
    /// A path that this process, and nobody else, can start the program by. Made once; close-on-exec.
    ///
    /// # Errors
    /// [`HelperError`] if the host gives no memory file.
    pub fn path(&self) -> Result<PathBuf, HelperError> {
        let mut sealed = self
            .sealed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = match sealed.take() {
            Some(file) => file,
            None => self.seal().map_err(|source| HelperError {
                name: self.name,
                source,
            })?,
        };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        *sealed = Some(file);
        Ok(path)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// The SHA-256 digest of its bytes, in hexadecimal: the name of a file that has them.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(self.bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn seal(&self) -> std::io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // With the sysctl vm.memfd_noexec=1 only a file that is asked for like this can be executed.
        // Linux before 6.3 does not know the flag.
        let made = match memfd_create(self.name, flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => memfd_create(self.name, flags),
            made => made,
        };
        let mut file = File::from(made?);
        file.write_all(self.bytes)?;
        fcntl_add_seals(
            &file,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_static_and_cannot_be_changed() {
        is_static_and_cannot_be_changed(runner());
        is_static_and_cannot_be_changed(guest_agent());
    }

    fn is_static_and_cannot_be_changed(helper: &Helper) {
        let path = helper.path().unwrap();
        assert_eq!(path, helper.path().unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes, helper.bytes());
        // No program interpreter: it needs nothing of the host but the kernel.
        assert!(!bytes.windows(10).any(|w| w == b"/ld-linux-"));
        let written = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"x"));
        assert!(written.is_err());
    }

    #[test]
    fn a_helper_is_named_by_its_bytes() {
        let digest = guest_agent().digest();
        assert_eq!(digest.len(), 64);
        assert_ne!(digest, runner().digest());
    }
}
