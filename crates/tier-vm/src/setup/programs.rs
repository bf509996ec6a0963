//! Firecracker and its jailer, put into a new installation.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{FirecrackerSource, SetupError, release, versions};
use crate::artifacts::{Artifacts, Item};
use crate::files::{self, FileError};

/// A program, in bytes. They have some four million.
pub(super) const MAX_PROGRAM_BYTES: u64 = 64 << 20;

/// File names, and what the programs call themselves.
const FIRECRACKER: (&str, &str) = ("bin/firecracker", "Firecracker");
const JAILER: (&str, &str) = ("bin/jailer", "Jailer");

/// A program's bytes, and where they are from.
pub(super) struct Program {
    pub(super) bytes: Vec<u8>,
    pub(super) from: String,
}

/// The programs in `directory`, a new installation, which say that they are of the same version.
pub(super) async fn put(
    data: &Path,
    source: &FirecrackerSource,
    directory: &Path,
) -> Result<(Item, Item), SetupError> {
    let bin = directory.join("bin");
    files::private_dir(&bin)?;
    let (firecracker, jailer, version) = match source {
        FirecrackerSource::Given {
            firecracker,
            jailer,
        } => (given(firecracker)?, given(jailer)?, None),
        FirecrackerSource::Release(release) => {
            let (firecracker, jailer) = release::fetch(release).await?;
            (firecracker, jailer, Some(release.version.as_str()))
        }
        FirecrackerSource::Installed => {
            let artifacts = Artifacts::open(data)?;
            artifacts.verify()?;
            let kept = |path: &PathBuf, from: &str| {
                let mut program = given(path)?;
                from.clone_into(&mut program.from);
                Ok::<_, SetupError>(program)
            };
            let versions = &artifacts.versions;
            (
                kept(&artifacts.firecracker, &versions.firecracker.from)?,
                kept(&artifacts.jailer, &versions.jailer.from)?,
                None,
            )
        }
    };
    let firecracker = put_one(directory, FIRECRACKER, &firecracker).await?;
    let jailer = put_one(directory, JAILER, &jailer).await?;
    files::sync_dir(&bin)?;
    let wanted = version.unwrap_or(&firecracker.version);
    for (item, other) in [(&firecracker, &jailer), (&jailer, &firecracker)] {
        if item.version != wanted {
            return Err(SetupError::Program {
                path: PathBuf::from(&item.from),
                problem: format!("it is version {}", item.version),
                fix: format!(
                    "take Firecracker and jailer of release {wanted}, as {} is",
                    other.from
                ),
            });
        }
    }
    Ok((firecracker, jailer))
}

fn given(path: &Path) -> Result<Program, SetupError> {
    let file = File::open(path).map_err(FileError::at("opening", path))?;
    let bytes = files::read_to(file, MAX_PROGRAM_BYTES).map_err(FileError::at("reading", path))?;
    if bytes.len() as u64 > MAX_PROGRAM_BYTES {
        return Err(SetupError::Program {
            path: path.to_owned(),
            problem: format!("it has more than {MAX_PROGRAM_BYTES} bytes"),
            fix: "check that it is the right file".to_owned(),
        });
    }
    let from = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok(Program {
        bytes,
        from: from.display().to_string(),
    })
}

async fn put_one(
    directory: &Path,
    (file, name): (&str, &str),
    program: &Program,
) -> Result<Item, SetupError> {
    let path = directory.join(file);
    files::write_new(&path, &program.bytes, 0o555)?;
    // What is asked is what will be started, not what it was copied from.
    let version = versions::of(&path, name).await;
    let version = version.map_err(|error| match error {
        // The copy is nobody's but ours, and goes.
        SetupError::Program { problem, fix, .. } => SetupError::Program {
            path: PathBuf::from(&program.from),
            problem,
            fix,
        },
        error => error,
    })?;
    Ok(Item::of(
        directory,
        file,
        &version,
        &program.from,
        &program.bytes,
    )?)
}
