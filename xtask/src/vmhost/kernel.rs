//! The machine's kernel: Debian's, or one that the developer has.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::shell::Shell;

use super::apt::{self, Package};
use super::cache::Cache;

/// Always depends on the package of the newest kernel.
const META_PACKAGE: &str = "linux-image-amd64";
const PACKAGE_PREFIX: &str = "linux-image-";

pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// With `modules.dep` in it.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// As `/lib/modules/RELEASE` is on most systems: modules, and the kernel beside them.
    pub(super) fn at(directory: &Path) -> Result<Self> {
        // The machine finds the modules by this path.
        let modules = directory
            .canonicalize()
            .with_context(|| format!("--kernel {}", directory.display()))?;
        let kernel = Self {
            image: modules.join("vmlinuz"),
            modules,
        };
        for file in [&kernel.image, &kernel.modules.join("modules.dep")] {
            ensure!(
                file.is_file(),
                "--kernel: there is no {}. The directory needs a kernel's modules, `depmod`'s lists and \
                 the kernel itself, as /lib/modules/$(uname -r) has them on most systems; where it lacks \
                 the kernel, copy the directory and, as vmlinuz, /boot/vmlinuz-$(uname -r)",
                file.display()
            );
        }
        Ok(kernel)
    }

    /// The newest one fetched, or, if there is none yet or `refresh`, the one that apt has.
    pub(super) fn of_debian(shell: &Shell, cache: &Cache, refresh: bool) -> Result<Self> {
        let kept = cache.newest_package(PACKAGE_PREFIX);
        let directory = match kept.filter(|_| !refresh) {
            Some(kept) => kept,
            None => fetch(shell, cache, refresh)?,
        };
        let all_modules = directory.join("lib/modules");
        let modules = std::fs::read_dir(&all_modules)
            .with_context(|| format!("reading {}", all_modules.display()))?
            .flatten()
            .map(|entry| entry.path())
            .next()
            .with_context(|| format!("{} is empty", all_modules.display()))?;
        let release = modules.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            image: directory.join(format!("boot/vmlinuz-{release}")),
            modules,
        })
    }
}

/// Fetches the package of the kernel that a meta package depends on, to a file.
pub(crate) fn fetch_package(shell: &Shell, meta_package: &str, to: &Path) -> Result<()> {
    let package = newest(shell, meta_package, false)?;
    let fetched = to.with_extension("fetched");
    let file = package.fetch(shell, &fetched)?;
    std::fs::rename(&file, to).with_context(|| format!("moving {}", file.display()))?;
    std::fs::remove_dir(&fetched).with_context(|| format!("removing {}", fetched.display()))
}

fn newest(shell: &Shell, meta_package: &str, refresh: bool) -> Result<Package> {
    apt::check(shell, meta_package, refresh)?;
    let depends = shell
        .command("apt-cache")
        .args(["depends", meta_package])
        .text()?;
    let name = real_package(&depends)
        .with_context(|| format!("`apt-cache depends {meta_package}` names no kernel"))?;
    Package::find(shell, name)
}

fn fetch(shell: &Shell, cache: &Cache, refresh: bool) -> Result<PathBuf> {
    let package = newest(shell, META_PACKAGE, refresh)?;
    cache.package_or(&package.id(), |directory| {
        package.unpack(shell, directory)?;
        // Installing would make the lists; unpacking does not.
        let modules = directory.join("lib/modules");
        for entry in std::fs::read_dir(&modules).context("the package has no modules")? {
            shell
                .command("depmod")
                .arg("--basedir")
                .arg(directory)
                .arg(entry?.file_name())
                .text()?;
        }
        Ok(())
    })
}

fn real_package(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim)
        .find(|name| name.starts_with(PACKAGE_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_meta_package_depends_on() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(real_package(depends), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(real_package("linux-image-amd64\n"), None);
    }
}
