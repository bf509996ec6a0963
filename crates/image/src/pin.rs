//! Root file systems that stay although no process of ours holds them: something that outlives us
//! runs on them.

use std::io;

use crate::{Digest, ImageError, Rootfs, Store, disk};

/// Longest name of a pin, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// A digest in hexadecimal.
const PIN_BYTES: u64 = 64;

impl Store {
    /// Keeps `rootfs` until [`Self::unpin`] is told the same name, `[a-z0-9-]{1,64}`.
    ///
    /// # Errors
    /// The disk, or a name that cannot be one.
    pub fn pin(&self, rootfs: &Rootfs, name: &str) -> Result<(), ImageError> {
        let pins = self.layout.pins();
        disk::private_dir(&pins)?;
        let path = pins.join(checked(name)?);
        let temporary = pins.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        // `rootfs` is a lease: nobody removes the files before this stands.
        disk::write_atomic(&temporary, &path, rootfs.key.hex().as_bytes())
    }

    /// Gives up a pin; it may be gone.
    ///
    /// # Errors
    /// The disk.
    pub fn unpin(&self, name: &str) -> Result<(), ImageError> {
        disk::remove_file(&self.layout.pins().join(checked(name)?))
    }

    /// The names of all pins.
    ///
    /// # Errors
    /// The disk.
    pub fn pins(&self) -> Result<Vec<String>, ImageError> {
        Ok(disk::names(&self.layout.pins())?
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| checked(name).is_ok())
            .collect())
    }

    /// What is pinned to the root file system `key`, if anything.
    pub(crate) fn pinned_by(&self, key: &Digest) -> Result<Option<String>, ImageError> {
        for name in self.pins()? {
            let path = self.layout.pins().join(&name);
            if disk::read_bounded(&path, PIN_BYTES)?.is_some_and(|pin| pin == key.hex().as_bytes())
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

fn checked(name: &str) -> Result<&str, ImageError> {
    let good = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(good) {
        return Ok(name);
    }
    Err(ImageError::Io {
        doing: "naming a pin; [a-z0-9-]{1,64} are names,".to_owned(),
        path: name.chars().take(MAX_NAME_BYTES).collect::<String>().into(),
        source: io::ErrorKind::InvalidInput.into(),
    })
}
