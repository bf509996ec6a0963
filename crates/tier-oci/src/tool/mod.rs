//! What a tool is made of, checked and opened before anything is made.

mod bundle;
mod image;
mod program;
mod root;
mod users;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use axo_core::{BoxError, Mount, Run, ToolSpec};

use bundle::BundleError;
pub(crate) use image::{ImageSource, ImageUseError};
use program::ProgramError;
pub(crate) use root::{RootError, identity, open_directory};

use crate::host::UserHost;

/// A tool that can be run: everything about it but its call.
pub(crate) struct Tool {
    /// Its root file system.
    pub(crate) root: OwnedFd,
    /// Changes whenever a container made of the tool would be another.
    pub(crate) identity: String,
    /// SHA-256 of what runs, as `sha256:…`.
    pub(crate) digest: Arc<str>,
    pub(crate) args: Vec<String>,
    /// The bundle's or image's own variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) directory: String,
    pub(crate) user: (u32, u32),
    /// The tool's own files, shown at `/tool`.
    pub(crate) files: Option<OwnedFd>,
    /// Keeps an image in the store.
    pub(crate) _lease: Option<axo_image::Rootfs>,
}

/// Why a tool cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Image(#[from] ImageUseError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("its files {0} cannot be opened as a directory, or lie behind a symbolic link")]
    Files(String, #[source] BoxError),
    #[error("tier oci does not run {0}")]
    Form(axo_core::Form),
}

/// Opens what `spec` is made of. Blocks on the disk, and for an image on the network.
pub(crate) async fn open(
    spec: &ToolSpec,
    users: &UserHost,
    images: &ImageSource,
) -> Result<Tool, ToolError> {
    match &spec.run {
        Run::Bundle(directory) => Ok(bundle::open(directory, users)?),
        Run::Image {
            reference,
            command,
            files,
        } => {
            let mut tool = images.open(reference, command, users).await?;
            if let Some(files) = files {
                let opened = root::open_directory(files)
                    .map_err(|e| ToolError::Files(files.display().to_string(), e.into()))?;
                tool.identity = format!("{} {}", tool.identity, root::identity(&opened));
                tool.files = Some(opened);
            }
            // Only now: the program may be among the tool's files.
            program::check(&tool)?;
            Ok(tool)
        }
        other => Err(ToolError::Form(other.form())),
    }
}

/// Checks that nothing a mount is made on leads elsewhere.
pub(crate) fn check_targets(tool: &Tool, mounts: &[Mount]) -> Result<(), RootError> {
    root::check(&tool.root, mounts.iter().map(|mount| mount.target.as_str()))
}

/// Every directory of a root file system that is mounted on: ours and `targets`.
pub(crate) fn mount_points<'a>(targets: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    root::MOUNT_POINTS
        .into_iter()
        .chain(targets)
        .map(str::to_owned)
        .collect()
}

/// What of a bundle's own configuration does not hold, in words: everything is replaced by the
/// tier's but the command, its variables and directory, and a user that is not root.
///
/// # Errors
/// If the bundle's `config.json` cannot be read.
pub fn overridden(bundle: &std::path::Path) -> Result<Vec<String>, BoxError> {
    Ok(bundle::overridden_by_hardening(bundle)?)
}
