//! OCI runtime bundles: a directory with `config.json` and a root file system, made by whoever.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::digest::{DigestError, digest};
use super::lookup::Places;
use super::{MAX_COMMAND_BYTES, MAX_PATH_BYTES, Tool, command_bytes, program, root};
use crate::host::UserHost;

/// Longest `config.json`, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most arguments and variables of a process.
const MAX_WORDS: usize = 1024;

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error(
        "its bundle {0} cannot be opened: it must be a directory, with no symbolic link on the way"
    )]
    Open(String, #[source] io::Error),
    #[error("its bundle {0} has no config.json")]
    NoConfig(String),
    #[error("its config.json cannot be read")]
    ConfigUnreadable(#[source] io::Error),
    #[error("its config.json has more than {MAX_CONFIG_BYTES} bytes")]
    ConfigTooLarge,
    #[error("its config.json is not an OCI runtime configuration")]
    ConfigInvalid(#[source] serde_json::Error),
    #[error("its config.json is of version {0:?}, and only 1.x is understood")]
    Version(String),
    #[error("its config.json has no {0}")]
    Missing(&'static str),
    #[error("its config.json has more than {MAX_WORDS} arguments or variables")]
    TooManyWords,
    #[error(
        "its arguments and variables take {0} bytes, and {MAX_COMMAND_BYTES} bytes is the most"
    )]
    CommandTooLong(usize),
    #[error("its root path {0:?} leads out of the bundle")]
    RootOutside(String),
    #[error(
        "its config.json asks for user {user}:{group}, which this host cannot give: it has {has}"
    )]
    User {
        user: u32,
        group: u32,
        has: &'static str,
    },
    #[error(
        "its working directory is not an absolute path without '..', of less than {MAX_PATH_BYTES} bytes: {0:?}"
    )]
    Directory(String),
    #[error(transparent)]
    Root(#[from] root::RootError),
    #[error(transparent)]
    Program(#[from] program::ProgramError),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl BundleError {
    /// What would help.
    pub(super) fn fix(&self) -> String {
        match self {
            Self::Program(_) => "check its command, process.args in config.json",
            Self::User { .. } => {
                "name a user that it has, or give this user ranges in /etc/subuid and /etc/subgid"
            }
            Self::TooManyWords | Self::CommandTooLong(_) => {
                "shorten it; a document goes into the input"
            }
            Self::Digest(DigestError::TooLarge) => "make an image of the bundle, and import it",
            _ => "mend the bundle, then try `axocoatl tool check`",
        }
        .to_owned()
    }
}

/// Opens and checks a bundle. Blocks on the disk.
pub(super) fn open(directory: &Path, users: &UserHost) -> Result<Tool, BundleError> {
    let bundle = open_bundle(directory)?;
    let (metadata, text) = read_config(&bundle, directory)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(BundleError::ConfigInvalid)?;
    if !spec.version().starts_with("1.") {
        return Err(BundleError::Version(spec.version().clone()));
    }
    let process = spec
        .process()
        .as_ref()
        .ok_or(BundleError::Missing("process"))?;
    let args = process
        .args()
        .clone()
        .filter(|args| !args.is_empty())
        .ok_or(BundleError::Missing("process.args"))?;
    let env = process.env().clone().unwrap_or_default();
    if args.len() > MAX_WORDS || env.len() > MAX_WORDS {
        return Err(BundleError::TooManyWords);
    }
    let bytes = command_bytes(&args, &env);
    if bytes > MAX_COMMAND_BYTES {
        return Err(BundleError::CommandTooLong(bytes));
    }
    let working = process.cwd().display().to_string();
    if !is_plain_absolute(process.cwd()) {
        return Err(BundleError::Directory(working));
    }
    let asked = (process.user().uid(), process.user().gid());
    let user = match asked {
        // The root of a container is no unprivileged user, even where it is nobody on the host.
        (0, _) => users.default_user(),
        other if users.has(other) => other,
        (user, group) => {
            let has = users.which_it_has();
            return Err(BundleError::User { user, group, has });
        }
    };
    let root_path = spec.root().as_ref().ok_or(BundleError::Missing("root"))?;
    let root = open_root(&bundle, directory, root_path.path())?;
    root::check(&root, [])?;

    let (program, file) = program::check(&program::Command {
        args: &args,
        env: &env,
        directory: &working,
        places: Places {
            root: &root,
            files: None,
        },
    })?;
    Ok(Tool {
        identity: format!(
            "{} {}:{}.{} {}",
            root::identity(&bundle),
            metadata.ino(),
            metadata.ctime(),
            metadata.ctime_nsec(),
            root::identity(&root)
        ),
        root,
        digest: digest(&text, file)?,
        program,
        args,
        env,
        directory: working,
        user,
        files: None,
        lease: None,
    })
}

pub(super) fn open_bundle(directory: &Path) -> Result<OwnedFd, BundleError> {
    root::open_directory(directory)
        .map_err(|e| BundleError::Open(directory.display().to_string(), e))
}

/// The text of `config.json`, a plain file of the bundle, and what the file is.
pub(super) fn read_config(
    bundle: &OwnedFd,
    directory: &Path,
) -> Result<(std::fs::Metadata, Vec<u8>), BundleError> {
    let config = openat2(
        bundle,
        "config.json",
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    );
    let config = match config {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => {
            return Err(BundleError::NoConfig(directory.display().to_string()));
        }
        Err(e) => return Err(BundleError::ConfigUnreadable(e.into())),
    };
    let metadata = config.metadata().map_err(BundleError::ConfigUnreadable)?;
    if !metadata.is_file() {
        let why = io::Error::other("it is not a regular file");
        return Err(BundleError::ConfigUnreadable(why));
    }
    let mut text = Vec::new();
    config
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(BundleError::ConfigUnreadable)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(BundleError::ConfigTooLarge);
    }
    Ok((metadata, text))
}

/// The root file system: a directory in the bundle, reached without a link.
fn open_root(bundle: &OwnedFd, directory: &Path, path: &Path) -> Result<OwnedFd, BundleError> {
    // What `runc spec` writes is relative; youki and umoci may write the bundle's own path before it.
    let relative = path.strip_prefix(directory).unwrap_or(path);
    let outside = relative.is_absolute()
        || relative
            .components()
            .any(|part| matches!(part, Component::ParentDir));
    if outside {
        return Err(BundleError::RootOutside(path.display().to_string()));
    }
    openat2(
        bundle,
        relative,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
    .map_err(|e| {
        root::RootError::Open {
            path: directory.join(relative).display().to_string(),
            source: e.into(),
        }
        .into()
    })
}

fn is_plain_absolute(path: &Path) -> bool {
    path.is_absolute()
        && path.as_os_str().len() < MAX_PATH_BYTES
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}
