//! Host directories that a tool is to see: they must be there.

use std::io;
use std::path::PathBuf;

use axocoatl_isolation::{Mount, ToolSpec};

#[derive(Debug, thiserror::Error)]
#[error("the mount source {path} cannot be used: it must be a directory that exists")]
pub(crate) struct MountError {
    path: PathBuf,
    source: io::Error,
}

/// The mounts as the operator typed them. Links in them are followed now; none is followed
/// afterwards.
pub(crate) fn resolve(mounts: &[Mount]) -> Result<Vec<Mount>, MountError> {
    let resolve = |mount: &Mount| {
        let found = mount.source.canonicalize().and_then(|path| {
            is_directory(path.metadata()?.is_dir())?;
            Ok(path)
        });
        let source = found.map_err(|source| MountError {
            path: mount.source.clone(),
            source,
        })?;
        Ok(Mount {
            source,
            ..mount.clone()
        })
    };
    mounts.iter().map(resolve).collect()
}

/// Checks the mounts that a tool's manifest asks for.
pub(crate) fn check(tool: &ToolSpec) -> Result<(), MountError> {
    let home = tool.directory.clone().unwrap_or_default();
    for mount in &tool.grants.mounts {
        let path = home.join(&mount.source);
        // A link is refused when the mount is made, so it is none of the answers here.
        let found = path
            .symlink_metadata()
            .and_then(|metadata| is_directory(metadata.is_dir()));
        found.map_err(|source| MountError { path, source })?;
    }
    Ok(())
}

fn is_directory(yes: bool) -> io::Result<()> {
    if yes {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}
