//! The kernel's modules that the initramfs has.

use std::fs::{File, read_dir, remove_dir_all};
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use super::step::{Failed, Step as _};

/// Where they are, named so that the order of their names is that in which they can be loaded. A
/// kernel that has everything built in comes without.
const DIRECTORY: &str = "/modules";

pub(super) fn load_all() -> Result<(), Failed> {
    let entries = match read_dir(DIRECTORY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.step(format_args!("modules: listing {DIRECTORY}"))?,
    };
    let mut modules = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .step(format_args!("modules: listing {DIRECTORY}"))?;
    modules.sort_unstable();
    for module in &modules {
        load(module).step(format_args!("modules: {}", module.display()))?;
    }
    // The kernel has copies, and this is memory.
    remove_dir_all(DIRECTORY).step(format_args!("modules: removing {DIRECTORY}"))
}

fn load(module: &Path) -> io::Result<()> {
    match finit_module(File::open(module)?, c"", 0) {
        // It is there already, or there is no such device. What needs it fails, if anything does.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
