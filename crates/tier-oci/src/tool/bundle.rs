//! OCI runtime bundles: a directory with `config.json` and a root file system, made by whoever.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest as _, Sha256};

use super::lookup::Places;
use super::{MAX_COMMAND_BYTES, MAX_PATH_BYTES, Tool, command_bytes, program, root};
use crate::host::UserHost;

/// Longest `config.json`, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most arguments and variables of a process.
const MAX_WORDS: usize = 1024;
/// Longest program, in bytes: it is read whole for its digest, which takes a second or two at this size.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

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
    #[error(
        "its program has more than {MAX_PROGRAM_BYTES} bytes, which are read for the call's digest; an image has a digest already"
    )]
    ProgramTooLarge,
    #[error("reading its program")]
    Digest(#[source] io::Error),
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
            Self::ProgramTooLarge => "make an image of the bundle, and import it",
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
        _lease: None,
    })
}

fn open_bundle(directory: &Path) -> Result<OwnedFd, BundleError> {
    root::open_directory(directory)
        .map_err(|e| BundleError::Open(directory.display().to_string(), e))
}

/// The text of `config.json`, a plain file of the bundle, and what the file is.
fn read_config(
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

/// SHA-256 over `config.json` and the program that it names. A whole root file system is not read
/// for each call: an image, whose digest covers it, is the form for that.
fn digest(config: &[u8], program: File) -> Result<Arc<str>, BundleError> {
    /// Programs whose digest is remembered.
    const MAX_KNOWN: usize = 256;
    type Key = (u64, u64, u64, i64, i64);
    static KNOWN: Mutex<Vec<(Key, [u8; 32])>> = Mutex::new(Vec::new());

    let metadata = program.metadata().map_err(BundleError::Digest)?;
    if metadata.size() > MAX_PROGRAM_BYTES {
        return Err(BundleError::ProgramTooLarge);
    }
    let key = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    let known = || {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(k, _)| *k == key).map(|(_, sum)| *sum)
    };
    let program_sum = match known() {
        Some(sum) => sum,
        None => {
            let sum = sum_of(program)?;
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KNOWN {
                known.remove(0);
            }
            known.push((key, sum));
            sum
        }
    };
    let mut sum = Sha256::new();
    sum.update(config);
    sum.update(program_sum);
    let hex: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Arc::from(format!("sha256:{hex}")))
}

fn sum_of(mut file: File) -> Result<[u8; 32], BundleError> {
    use std::io::Seek as _;
    file.rewind().map_err(BundleError::Digest)?;
    // It may grow while it is read.
    let mut file = file.take(MAX_PROGRAM_BYTES + 1);
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(BundleError::Digest)?;
        if read == 0 {
            break;
        }
        sum.update(&buffer[..read]);
    }
    match file.limit() {
        0 => Err(BundleError::ProgramTooLarge),
        _ => Ok(sum.finalize().into()),
    }
}

/// What of a bundle's configuration does not hold, in words. Everything of a bundle is replaced by
/// the tier's own but the command, its variables and directory, and a user that is not root.
///
/// # Errors
/// [`BundleError`] if the bundle cannot be read.
pub(crate) fn overridden_by_hardening(directory: &Path) -> Result<Vec<String>, BundleError> {
    let (_, text) = read_config(&open_bundle(directory)?, directory)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(BundleError::ConfigInvalid)?;
    Ok(overridden(&spec))
}

fn overridden(spec: &Spec) -> Vec<String> {
    let mut all = Vec::new();
    let mut say = |holds: bool, text: &str| {
        if holds {
            all.push(text.to_owned());
        }
    };
    if let Some(process) = spec.process() {
        say(
            process.terminal().unwrap_or(false),
            "process.terminal: a tool has no terminal",
        );
        say(
            process.user().uid() == 0,
            "process.user: root becomes an unprivileged user",
        );
        say(
            process
                .user()
                .additional_gids()
                .as_ref()
                .is_some_and(|groups| !groups.is_empty()),
            "process.user.additionalGids: a tool has no further groups",
        );
        say(
            process.capabilities().as_ref().is_some_and(has_any),
            "process.capabilities: a tool has none",
        );
        say(
            process.no_new_privileges() != Some(true),
            "process.noNewPrivileges: always set",
        );
        say(
            process
                .rlimits()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
            "process.rlimits: replaced by the tool's limits",
        );
        say(
            process.apparmor_profile().is_some() || process.selinux_label().is_some(),
            "process.apparmorProfile, selinuxLabel: not applied",
        );
    }
    say(
        spec.root()
            .as_ref()
            .is_some_and(|root| root.readonly() != Some(true)),
        "root.readonly: always true",
    );
    say(
        spec.hooks().is_some(),
        "hooks: not run, for they would run on the host",
    );
    for mount in spec.mounts().iter().flatten() {
        let target = mount.destination().display();
        let ours = root::MOUNT_POINTS
            .iter()
            .any(|ours| mount.destination() == Path::new(ours))
            || mount.destination().starts_with("/dev");
        say(
            !ours,
            &format!("mounts {target}: not made; grant a mount to the tool instead"),
        );
    }
    if let Some(linux) = spec.linux() {
        say(
            linux.resources().is_some(),
            "linux.resources: replaced by the tool's limits",
        );
        say(
            linux.devices().as_ref().is_some_and(|d| !d.is_empty()),
            "linux.devices: only null, zero, full, random, urandom and tty",
        );
        say(linux.seccomp().is_some(), "linux.seccomp: replaced");
        say(
            linux.sysctl().as_ref().is_some_and(|s| !s.is_empty()),
            "linux.sysctl: not set",
        );
        say(
            linux
                .namespaces()
                .iter()
                .flatten()
                .any(|namespace| namespace.path().is_some()),
            "linux.namespaces: none of the host's is joined",
        );
        say(
            linux.cgroups_path().is_some(),
            "linux.cgroupsPath: replaced",
        );
        say(
            linux.masked_paths().is_some() || linux.readonly_paths().is_some(),
            "linux.maskedPaths, readonlyPaths: replaced by a longer list",
        );
    }
    all
}

fn has_any(capabilities: &oci_spec::runtime::LinuxCapabilities) -> bool {
    [
        capabilities.bounding(),
        capabilities.effective(),
        capabilities.inheritable(),
        capabilities.permitted(),
        capabilities.ambient(),
    ]
    .into_iter()
    .flatten()
    .any(|set| !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse file is of any size at no cost, but for whoever reads it.
    #[test]
    fn a_program_too_large_is_refused_before_it_is_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * MAX_PROGRAM_BYTES).unwrap();
        let refused = digest(b"", file);
        assert!(matches!(refused, Err(BundleError::ProgramTooLarge)));
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        digest(b"", file).unwrap();
    }

    #[test]
    fn every_setting_that_does_not_hold_is_named() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/host", "type": "bind", "source": "/"}
            ],
            "process": {
                "terminal": true, "cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_KILL"]}
            },
            "hooks": {"prestart": [{"path": "/bin/true"}]},
            "linux": {"namespaces": [{"type": "network", "path": "/proc/1/ns/net"}]}
        }))
        .unwrap();
        let all = overridden(&spec).join("\n");
        for word in [
            "terminal",
            "user",
            "capabilities",
            "noNewPrivileges",
            "readonly",
            "hooks",
            "/host",
            "namespaces",
        ] {
            assert!(all.contains(word), "{word} in {all}");
        }
        assert!(!all.contains("/proc:"), "{all}");
    }
}
