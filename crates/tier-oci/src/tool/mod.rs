//! What a tool is made of, checked and opened before anything is made.

mod bundle;
mod digest;
mod image;
mod lookup;
mod overridden;
mod program;
mod root;
mod users;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axo_core::{BoxError, Mount, Run, SpecId, ToolSpec};

use bundle::BundleError;
pub(crate) use image::{ImageSource, ImageUseError};
use program::{Program, ProgramError};
pub(crate) use root::{RootError, identity, open_directory};

use crate::host::UserHost;

/// Where a tool's own files are.
pub(crate) const TOOL_FILES: &str = "/tool";

/// Most bytes of a command with its variables, as they are written to the runner: they have to fit
/// in a packet (`axo_runner::MAX_PACKET_BYTES`, 160 KiB).
pub(crate) const MAX_COMMAND_BYTES: usize = 128 << 10;

/// Bytes that no path reaches: `PATH_MAX` of the kernel.
const MAX_PATH_BYTES: usize = 4096;

/// How many bytes a command with its variables takes on its way to the runner.
pub(crate) fn command_bytes(args: &[String], env: &[String]) -> usize {
    serde_json::to_vec(&(args, env)).map_or(usize::MAX, |text| text.len())
}

/// A tool that can be run: everything about it but its call.
pub(crate) struct Tool {
    /// Its root file system.
    pub(crate) root: OwnedFd,
    /// Changes whenever a container made of the tool would be another.
    pub(crate) identity: String,
    /// SHA-256 of what runs, as `sha256:…`.
    pub(crate) digest: Arc<str>,
    /// What is executed; [`Self::args`] begins with what it is called.
    pub(crate) program: Program,
    pub(crate) args: Vec<String>,
    /// The bundle's or image's own variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) directory: String,
    pub(crate) user: (u32, u32),
    /// The tool's own files, shown at `/tool`.
    pub(crate) files: Option<OwnedFd>,
    /// Keeps an image in the store.
    pub(crate) lease: Option<axo_image::Rootfs>,
}

impl Tool {
    /// Whether it is an image, which does not change.
    pub(crate) const fn is_image(&self) -> bool {
        self.lease.is_some()
    }
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
    #[error("opening it was given up")]
    GivenUp,
    #[error("tier oci does not run {0}")]
    Form(axo_core::Form),
}

/// Whose fault it is that a tool cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The tool's, or its author's.
    Tool,
    /// Nobody's: this is not here.
    Absence(String),
    /// The host's, or a registry's, or ours.
    Host,
}

impl ToolError {
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::Image(error) => error.blame(),
            Self::GivenUp => Blame::Host,
            _ => Blame::Tool,
        }
    }

    /// What would help.
    pub(crate) fn fix(&self) -> String {
        match self {
            Self::Bundle(error) => error.fix(),
            Self::Image(error) => error.fix(),
            Self::Root(_) => "build the image so that these are plain directories".into(),
            Self::Program(_) => "check its command".into(),
            Self::Files(..) => "correct `files` in its tool.toml".into(),
            Self::GivenUp => "try again".into(),
            Self::Form(_) => "use a tier that does".into(),
        }
    }
}

/// Opens what `spec` is made of. An image may be pulled first; whatever else blocks is done where
/// blocking is allowed.
async fn open(spec: &ToolSpec, users: &UserHost, images: &ImageSource) -> Result<Tool, ToolError> {
    let users = users.clone();
    match spec.run.clone() {
        Run::Bundle(directory) => blocking(move || Ok(bundle::open(&directory, &users)?)).await,
        Run::Image {
            reference,
            command,
            files,
        } => {
            let image = images.obtain(&reference).await?;
            blocking(move || {
                let files = files.as_deref().map(open_files).transpose()?;
                image.open(&command, files, &users)
            })
            .await
        }
        other => Err(ToolError::Form(other.form())),
    }
}

/// Tools that were opened, by their loading.
#[derive(Default)]
pub(crate) struct OpenTools(Mutex<HashMap<SpecId, Arc<Tool>>>);

impl OpenTools {
    /// The tool, opened. An image does not change; a bundle is looked at for every call, because it
    /// may have.
    pub(crate) async fn open(
        &self,
        spec: &ToolSpec,
        users: &UserHost,
        images: &ImageSource,
    ) -> Result<Arc<Tool>, ToolError> {
        if let Some(tool) = self.lock().get(&spec.id()) {
            return Ok(Arc::clone(tool));
        }
        let tool = Arc::new(open(spec, users, images).await?);
        if matches!(spec.run, Run::Image { .. }) {
            self.lock().insert(spec.id(), Arc::clone(&tool));
        }
        Ok(tool)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SpecId, Arc<Tool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_files(directory: &Path) -> Result<OwnedFd, ToolError> {
    root::open_directory(directory)
        .map_err(|e| ToolError::Files(directory.display().to_string(), e.into()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(ToolError::GivenUp))
}

/// Why a mount cannot be made where it was granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("it would cover the program of the tool, {0}")]
    CoversProgram(String),
}

/// Checks that nothing a mount is made on leads elsewhere, and that none hides what was checked.
pub(crate) fn check_targets(tool: &Tool, mounts: &[Mount]) -> Result<(), TargetError> {
    let targets = || mounts.iter().map(|mount| mount.target.as_str());
    if targets().any(|target| tool.program.is_covered_by(target)) {
        let program = tool.program.path.clone();
        return Err(TargetError::CoversProgram(program));
    }
    Ok(root::check(&tool.root, targets())?)
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
pub fn overridden(bundle: &Path) -> Result<Vec<String>, BoxError> {
    Ok(overridden::of_bundle(bundle)?)
}
