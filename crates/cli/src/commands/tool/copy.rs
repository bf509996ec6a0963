//! A tool's directory, copied to the user's tools.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use axocoatl_isolation::{Owner, Run, ToolSpec};

use super::add::AddError;

/// Most files in a tool's directory: the root file system of a distribution has some ten thousand.
const MAX_FILES: usize = 100_000;
/// Most bytes in a tool's directory.
const MAX_BYTES: u64 = 1 << 30;
/// Deepest directory in a tool's directory.
const MAX_DEPTH: usize = 32;

/// Copies the tool in `from` beside its place and then renames it: it is there whole, or not at all.
pub(super) fn tool(from: &Path, tool: &ToolSpec, tools: &Path) -> Result<PathBuf, AddError> {
    let path = tools.join(tool.name.as_str());
    if path.symlink_metadata().is_ok() {
        return Err(AddError::Exists {
            name: tool.name.clone(),
            place: path.display().to_string(),
        });
    }
    // One process adds at a time. What one that was killed left here is removed first. No tool can
    // have this name, so what lies here is never found as one.
    let adding = Owner::claim(&tools.join(".adding"))?;
    let copy = adding.path().join("tool");
    match std::fs::remove_dir_all(&copy) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&copy)(e)),
        _ => {}
    }
    let mut copier = Copier {
        bundle: bundle(from, tool),
        files: MAX_FILES,
        bytes: MAX_BYTES,
    };
    copier.directory(from, &copy, MAX_DEPTH)?;
    // Whatever others may do with what is in it: none of them gets there.
    std::fs::set_permissions(&copy, Permissions::from_mode(0o700)).map_err(failed(&copy))?;
    std::fs::rename(&copy, &path).map_err(failed(&path))?;
    Ok(path)
}

/// The tool's bundle in `from`, if it is one.
fn bundle(from: &Path, tool: &ToolSpec) -> Option<PathBuf> {
    let Run::Bundle(bundle) = &tool.run else {
        return None;
    };
    let inside = bundle.strip_prefix(tool.directory.as_deref()?).ok()?;
    Some(from.join(inside))
}

/// One copying: how much may still be copied, and where links are.
struct Copier {
    /// A root file system has links, which lead nowhere but inside it when it is one.
    bundle: Option<PathBuf>,
    files: usize,
    bytes: u64,
}

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), AddError> {
        if depth == 0 {
            return unusable(from, "it is nested too deep");
        }
        let metadata = std::fs::metadata(from).map_err(failed(from))?;
        DirBuilder::new()
            .mode(0o700)
            .create(to)
            .map_err(failed(to))?;
        for entry in std::fs::read_dir(from).map_err(failed(from))? {
            let entry = entry.map_err(failed(from))?;
            let Some(files) = self.files.checked_sub(1) else {
                return unusable(&entry.path(), "there are too many files");
            };
            self.files = files;
            self.entry(&entry, &to.join(entry.file_name()), depth)?;
        }
        // A sandbox's users are others: they may do in the copy what they may in the source.
        let mode = metadata.permissions().mode() & 0o777;
        std::fs::set_permissions(to, Permissions::from_mode(mode)).map_err(failed(to))
    }

    fn entry(
        &mut self,
        entry: &std::fs::DirEntry,
        target: &Path,
        depth: usize,
    ) -> Result<(), AddError> {
        let source = entry.path();
        let kind = entry.file_type().map_err(failed(&source))?;
        if kind.is_dir() {
            self.directory(&source, target, depth - 1)
        } else if kind.is_file() {
            let size = entry.metadata().map_err(failed(&source))?.len();
            let Some(bytes) = self.bytes.checked_sub(size) else {
                return unusable(&source, "the files are too large");
            };
            self.bytes = bytes;
            std::fs::copy(&source, target)
                .and_then(|_| std::fs::File::open(target)?.sync_all())
                .map_err(failed(target))
        } else if kind.is_symlink() && self.is_in_root_file_system(&source) {
            std::fs::read_link(&source)
                .and_then(|link| std::os::unix::fs::symlink(link, target))
                .map_err(failed(target))
        } else {
            unusable(
                &source,
                "a tool has plain files and directories only, no links or devices",
            )
        }
    }

    /// Whether `path` is in a directory of the bundle. What lies in the bundle itself, its
    /// configuration above all, is no link.
    fn is_in_root_file_system(&self, path: &Path) -> bool {
        let bundle = self.bundle.as_deref();
        bundle
            .and_then(|bundle| path.strip_prefix(bundle).ok())
            .is_some_and(|inside| inside.components().count() > 1)
    }
}

fn unusable(path: &Path, problem: &str) -> Result<(), AddError> {
    Err(AddError::Unusable {
        path: path.to_owned(),
        problem: problem.to_owned(),
    })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AddError {
    let path = path.to_owned();
    move |source| AddError::Io { path, source }
}
