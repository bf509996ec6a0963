//! What is installed: Firecracker, its jailer, a kernel and its modules.

mod record;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use record::{FORMAT, Item, Record};

use crate::files::FileError;
use crate::lock::{self, Hold};
use crate::places::Places;

/// How often the installation is looked for, when it is replaced while we look.
const MAX_TRIES: u32 = 10;

/// The command that installs everything, whatever is installed.
const SET_UP: &str = "as root: axocoatl microvm setup --firecracker FILE --jailer FILE --kernel FILE \
                      (its --help says where to get them)";

/// One installation of everything that a microVM is started with. While it lives, or a clone, the
/// files stay, even if another installation replaces them.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The program that is the machine.
    pub firecracker: PathBuf,
    /// The program that confines it.
    pub jailer: PathBuf,
    /// The guest's kernel, as ELF.
    pub kernel: PathBuf,
    /// Its modules, decompressed, in the order of loading.
    pub modules: Vec<PathBuf>,
    /// What these are.
    pub versions: Versions,
    pub(crate) record: Arc<Record>,
    /// Shared lock on the installation's directory.
    _lease: Arc<File>,
}

/// What is installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versions {
    /// Firecracker's, as `1.12.1`.
    pub firecracker: Component,
    /// The jailer's, as `1.12.1`.
    pub jailer: Component,
    /// The kernel's release, as `6.1.0-56-cloud-amd64`.
    pub kernel: Component,
}

/// One part of an installation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Component {
    /// Its version.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Where it was taken from.
    pub from: String,
}

/// Why nothing can be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactsError {
    /// Nothing was installed.
    #[error("tier microvm is not set up; {fix}")]
    NotSetUp {
        /// What to do.
        fix: &'static str,
    },
    /// Something is not what was installed.
    #[error("{}: {problem}; install it again, {SET_UP}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The host failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ArtifactsError {
    /// What is wrong, without what to do.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::NotSetUp { .. } => "tier microvm is not set up".to_owned(),
            Self::Damaged { path, problem } => format!("{}: {problem}", path.display()),
            Self::File(error) => axo_core::chain(error),
        }
    }

    /// What to do.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            Self::NotSetUp { fix } => fix,
            Self::Damaged { .. } => SET_UP,
            Self::File(_) => "let root read it; tier microvm is root's alone",
        }
    }

    fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Artifacts {
    /// Finds what is installed in `data`, the engine's data directory, and checks that it is what
    /// was installed: by size and time of change, which the record has, and where these differ (the
    /// directory was copied or restored) by digest.
    ///
    /// # Errors
    /// [`ArtifactsError::NotSetUp`], or something is damaged, or cannot be read.
    pub fn open(data: &Path) -> Result<Self, ArtifactsError> {
        let (directory, lease) = installed(&Places::of(data))?;
        let record = record::read(&directory)?;
        for item in record.items() {
            check(&directory.join(&item.file), item)?;
        }
        let path = |item: &Item| directory.join(&item.file);
        Ok(Self {
            firecracker: path(&record.firecracker),
            jailer: path(&record.jailer),
            kernel: path(&record.kernel),
            modules: record.modules.iter().map(path).collect(),
            versions: Versions {
                firecracker: Component::of(&record.firecracker),
                jailer: Component::of(&record.jailer),
                kernel: Component::of(&record.kernel),
            },
            record: Arc::new(record),
            _lease: Arc::new(lease),
        })
    }

    /// Compares every file with its digest, whatever its size and times are.
    ///
    /// # Errors
    /// The first file that is not what was installed, or cannot be read.
    pub fn verify(&self) -> Result<(), ArtifactsError> {
        let programs = [&self.firecracker, &self.jailer, &self.kernel];
        let paths = programs.into_iter().chain(&self.modules);
        for (path, item) in paths.zip(self.record.items()) {
            compare(path, item)?;
        }
        Ok(())
    }
}

impl Component {
    fn of(item: &Item) -> Self {
        Self {
            version: item.version.clone(),
            sha256: item.sha256.clone(),
            from: item.from.clone(),
        }
    }
}

/// The directory that counts, locked.
fn installed(places: &Places) -> Result<(PathBuf, File), ArtifactsError> {
    let current = places.current();
    for _ in 0..MAX_TRIES {
        let id = match std::fs::read_link(&current) {
            Ok(target) => target.file_name().map(ToOwned::to_owned),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(FileError::at("reading", &current)(error).into()),
        };
        let id = id.ok_or_else(|| ArtifactsError::damaged(&current, "it leads nowhere"))?;
        let directory = places.setups().join(id);
        if let Some(lease) = lock::take(&directory, Hold::Shared)? {
            // Root is going to execute what is there.
            for path in [places.root(), &places.setups(), &directory] {
                is_ours_alone(path)?;
            }
            return Ok((directory, lease));
        }
        // It was replaced since we read the link.
    }
    if current.is_symlink() {
        return Err(ArtifactsError::damaged(
            &current,
            "what it leads to is gone",
        ));
    }
    Err(ArtifactsError::NotSetUp { fix: SET_UP })
}

fn is_ours_alone(path: &Path) -> Result<(), ArtifactsError> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(path).map_err(FileError::at("looking at", path))?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    match metadata.is_dir() && ours && metadata.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(ArtifactsError::damaged(
            path,
            "it is another user's, or others can write there",
        )),
    }
}

fn check(path: &Path, item: &Item) -> Result<(), ArtifactsError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ArtifactsError::damaged(path, "it is gone"));
        }
        metadata => metadata.map_err(FileError::at("looking at", path))?,
    };
    if !metadata.is_file() || metadata.len() != item.size {
        let problem = format!("it has {} bytes instead of {}", metadata.len(), item.size);
        return Err(ArtifactsError::damaged(path, problem));
    }
    if record::changed(&metadata) == item.changed {
        return Ok(());
    }
    compare(path, item)
}

fn compare(path: &Path, item: &Item) -> Result<(), ArtifactsError> {
    let digest = File::open(path)
        .and_then(|mut file| crate::digest::of_file(&mut file))
        .map_err(FileError::at("reading", path))?;
    if digest != item.sha256 {
        let problem = format!("its SHA-256 is {digest} instead of {}", item.sha256);
        return Err(ArtifactsError::damaged(path, problem));
    }
    Ok(())
}
