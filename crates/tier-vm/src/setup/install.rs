//! The installation as a whole.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{FirecrackerSource, KernelSource, SetupError, programs};
use crate::artifacts::{Artifacts, FORMAT, Item, Record};
use crate::files::{self, Aside, FileError};
use crate::gc::{self, CHANGE_WAIT};
use crate::kernel::{self, Kernel};
use crate::lock;
use crate::places::{ASIDE, Places};

pub(super) async fn install(
    data: &Path,
    firecracker: &FirecrackerSource,
    kernel: &KernelSource,
) -> Result<Artifacts, SetupError> {
    let places = Places::of(data);
    for directory in [places.root().to_owned(), places.setups()] {
        files::private_dir(&directory)?;
    }
    let aside = Aside::directory(&places.setups())?;
    let (firecracker, jailer) = programs::put(data, firecracker, aside.path()).await?;
    let (data, kernel) = (data.to_owned(), kernel.clone());
    // Decompressing takes seconds.
    tokio::task::spawn_blocking(move || {
        let (kernel, modules) = put_kernel(&data, &kernel, aside.path())?;
        let record = Record {
            format: FORMAT,
            firecracker,
            jailer,
            kernel,
            modules,
        };
        record.write(aside.path())?;
        put_in_force(&places, aside)?;
        Ok(Artifacts::open(&data)?)
    })
    .await?
}

/// The kernel in `directory`, a new installation.
fn put_kernel(
    data: &Path,
    source: &KernelSource,
    directory: &Path,
) -> Result<(Item, Vec<Item>), SetupError> {
    let modules = directory.join("kernel/modules");
    files::private_dir(&modules)?;
    let items = match source {
        KernelSource::Given { kernel, modules } => {
            let from = std::path::absolute(kernel).unwrap_or_else(|_| kernel.clone());
            let kernel = kernel::read(kernel, modules.as_deref())?;
            put_new(directory, &kernel, &from.display().to_string())?
        }
        KernelSource::Installed => put_installed(directory, &Artifacts::open(data)?)?,
    };
    files::sync_dir(&modules)?;
    files::sync_dir(&directory.join("kernel"))?;
    Ok(items)
}

fn put_new(directory: &Path, kernel: &Kernel, from: &str) -> Result<(Item, Vec<Item>), FileError> {
    let put = |file: &str, bytes: &[u8]| {
        files::write_new(&directory.join(file), bytes, 0o444)?;
        Item::of(directory, file, &kernel.release, from, bytes)
    };
    let image = put("kernel/vmlinux", &kernel.elf)?;
    let modules = kernel.modules.iter().enumerate().map(|(number, module)| {
        let file = format!("kernel/modules/{number:02}-{}.ko", module.name);
        put(&file, &module.bytes)
    });
    Ok((image, modules.collect::<Result<_, _>>()?))
}

fn put_installed(directory: &Path, artifacts: &Artifacts) -> Result<(Item, Vec<Item>), SetupError> {
    artifacts.verify()?;
    let put = |(path, item): (&PathBuf, &Item)| {
        let bytes = std::fs::read(path).map_err(FileError::at("reading", path))?;
        files::write_new(&directory.join(&item.file), &bytes, 0o444)?;
        Item::of(directory, &item.file, &item.version, &item.from, &bytes)
    };
    let record = &artifacts.record;
    let image = put((&artifacts.kernel, &record.kernel))?;
    let modules = artifacts.modules.iter().zip(&record.modules).map(put);
    Ok((image, modules.collect::<Result<_, _>>()?))
}

/// From here on it is what counts. What it replaces is removed, unless somebody uses it.
fn put_in_force(places: &Places, aside: Aside) -> Result<(), SetupError> {
    let _changing = lock::wait(&places.lock(), "changing tier microvm's files", CHANGE_WAIT)?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    aside.place(&places.setups().join(&id))?;
    let link = places.root().join(format!("{ASIDE}{id}"));
    symlink(Path::new("setups").join(&id), &link).map_err(FileError::at("making", &link))?;
    let current = places.current();
    if let Err(error) = std::fs::rename(&link, &current) {
        files::remove(&link)?;
        return Err(FileError::at("replacing", &current)(error).into());
    }
    files::sync_dir(places.root())?;
    if let Err(error) = gc::replaced(places) {
        tracing::warn!(%error, "left for the next garbage collection");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
