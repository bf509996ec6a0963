//! A directory `lib/modules/<release>` as a place of modules.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::modinfo::name_of_file;
use super::modules::{Found, Source};
use super::{KernelError, builtin, deb};
use crate::files::{self, FileError};

/// How deep directories nest. Debian's are seven deep.
const MAX_DEPTH: usize = 32;

/// Names in all of them. A kernel for every machine has some five thousand.
const MAX_NAMES: usize = 200_000;

pub(super) struct Tree<'a> {
    root: &'a Path,
}

impl<'a> Tree<'a> {
    pub(super) const fn new(root: &'a Path) -> Self {
        Self { root }
    }

    /// The regular files below the root. Links, as `build` and `source` are, are not followed.
    fn files(&self) -> Result<Vec<PathBuf>, KernelError> {
        let mut files = Vec::new();
        let mut directories = vec![(self.root.to_owned(), 0)];
        let mut seen = 0;
        while let Some((directory, depth)) = directories.pop() {
            for name in files::names(&directory)? {
                seen += 1;
                if depth >= MAX_DEPTH || seen > MAX_NAMES {
                    let what = self.root.display().to_string();
                    return Err(KernelError::malformed(&what, "it has too many files"));
                }
                let path = directory.join(name);
                let metadata =
                    std::fs::symlink_metadata(&path).map_err(FileError::at("looking at", &path))?;
                if metadata.is_dir() {
                    directories.push((path, depth + 1));
                } else if metadata.is_file() {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }
}

impl Source for Tree<'_> {
    fn find(&self, names: &BTreeSet<String>) -> Result<Found, KernelError> {
        let mut found = Found::default();
        for path in self.files()? {
            let what = path.display().to_string();
            let open = || File::open(&path).map_err(FileError::at("opening", &path));
            if path.ends_with("modules.builtin") {
                found.built_in.extend(builtin::list(&what, open()?)?);
            } else if let Some(name) = name_of_file(&what).filter(|name| names.contains(name)) {
                found.modules.insert(name, deb::module(&what, open()?)?);
            }
        }
        Ok(found)
    }
}
