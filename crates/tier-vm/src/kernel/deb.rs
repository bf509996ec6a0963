//! Debian packages: an `ar` archive with a compressed tar in it.
//!
//! The format is that of deb(5): the members `debian-binary`, `control.tar.*` and `data.tar.*`, in
//! this order, each with a header of 60 bytes. Nothing of the control part is looked at, and no script
//! in it is run.

mod ar;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use tar::EntryType;

use super::decompress::{self, Refused};
use super::modinfo::name_of_file;
use super::modules::{Found, Source};
use super::{KernelError, MAX_IMAGE_BYTES, MAX_MODULE_BYTES, builtin, within};
use crate::files::{self, FileError};

/// What the files of a package may come to, in bytes. Those of a kernel for every machine are
/// 400 million.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// Entries of a package. A kernel for every machine has some five thousand.
const MAX_ENTRIES: usize = 200_000;

/// A path in a package, in bytes: `PATH_MAX` of Linux.
const MAX_PATH_BYTES: u64 = 4096;

/// Whether the file is a package.
pub(super) fn is_package(path: &Path) -> Result<bool, KernelError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ar::MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(FileError::at("reading", path))?;
    Ok(start == ar::MAGIC)
}

/// The kernel image `boot/vmlinuz-*` of the package.
pub(super) fn kernel(path: &Path) -> Result<Vec<u8>, KernelError> {
    let mut kernel = None;
    Package::new(path).each(|name, entry| {
        if !name.starts_with("boot/vmlinuz-") {
            return Ok(());
        }
        let what = format!("{name} in {}", path.display());
        let bytes = files::read_to(entry, MAX_IMAGE_BYTES).map_err(|e| broken(&what, &e))?;
        match kernel.replace(within(&what, bytes, MAX_IMAGE_BYTES)?) {
            None => Ok(()),
            Some(_) => Err(KernelError::malformed(
                &path.display().to_string(),
                "it has more than one kernel",
            )),
        }
    })?;
    kernel.ok_or_else(|| {
        KernelError::malformed(
            &path.display().to_string(),
            "it has no boot/vmlinuz-*; the package of a kernel is called linux-image-<version>-…, what \
             is called linux-image-amd64 only depends on one",
        )
    })
}

/// A package as a place of modules.
pub(super) struct Package<'a> {
    path: &'a Path,
}

impl<'a> Package<'a> {
    pub(super) const fn new(path: &'a Path) -> Self {
        Self { path }
    }

    /// Shows every regular file of the package.
    fn each(
        &self,
        mut see: impl FnMut(&str, &mut dyn Read) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let what = self.path.display().to_string();
        let malformed = |error: io::Error| broken(&what, &error);
        let file = File::open(self.path).map_err(FileError::at("opening", self.path))?;
        let data = ar::data(BufReader::with_capacity(128 << 10, file)).map_err(malformed)?;
        let tar = decompress::reader(BufReader::new(data)).map_err(|refused| match refused {
            Refused::Compression(compression) => KernelError::Compression {
                what: format!("the data in {what}"),
                compression,
            },
            Refused::Io(error) => malformed(error),
        })?;
        let mut archive = tar::Archive::new(tar.take(MAX_UNPACKED_BYTES));
        let mut long_name = None;
        // Raw: long names are not collected for us, without a limit, but come as entries.
        for (count, entry) in archive.entries().map_err(malformed)?.raw(true).enumerate() {
            let mut entry = entry.map_err(malformed)?;
            if count >= MAX_ENTRIES {
                return Err(KernelError::malformed(&what, "it has too many files"));
            }
            match entry.header().entry_type() {
                EntryType::GNULongName => {
                    let name = files::read_to(&mut entry, MAX_PATH_BYTES).map_err(malformed)?;
                    long_name = Some(within(&what, name, MAX_PATH_BYTES)?);
                }
                EntryType::GNULongLink => {}
                EntryType::Regular => {
                    let name = long_name
                        .take()
                        .unwrap_or_else(|| entry.path_bytes().into_owned());
                    let name = String::from_utf8_lossy(&name);
                    let name = name.trim_end_matches('\0').trim_start_matches("./");
                    see(name, &mut entry)?;
                }
                _ => long_name = None,
            }
        }
        Ok(())
    }
}

impl Source for Package<'_> {
    fn find(&self, names: &BTreeSet<String>) -> Result<Found, KernelError> {
        let mut found = Found::default();
        self.each(|path, entry| {
            let Some(inside) = path
                .strip_prefix("usr/")
                .unwrap_or(path)
                .strip_prefix("lib/modules/")
            else {
                return Ok(());
            };
            let what = format!("{path} in {}", self.path.display());
            if inside.ends_with("/modules.builtin") {
                found.built_in.extend(builtin::list(&what, entry)?);
            } else if let Some(name) = name_of_file(inside).filter(|name| names.contains(name)) {
                found.modules.insert(name, module(&what, entry)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads a module, decompressed.
pub(super) fn module(what: &str, file: impl Read) -> Result<Vec<u8>, KernelError> {
    let reader = decompress::reader(BufReader::new(file)).map_err(|refused| match refused {
        Refused::Compression(compression) => KernelError::Compression {
            what: what.to_owned(),
            compression,
        },
        Refused::Io(error) => broken(what, &error),
    })?;
    let bytes = files::read_to(reader, MAX_MODULE_BYTES).map_err(|error| broken(what, &error))?;
    within(what, bytes, MAX_MODULE_BYTES)
}

fn broken(what: &str, error: &io::Error) -> KernelError {
    let cut = match error.kind() {
        io::ErrorKind::UnexpectedEof => " (it ends too early; was it fetched whole?)",
        _ => "",
    };
    KernelError::malformed(what, format!("it cannot be read: {error}{cut}"))
}
