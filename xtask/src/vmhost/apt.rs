//! Debian's packages, fetched and unpacked; never installed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::shell::{Shell, say};

/// A package as apt would install it now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    sha256: String,
}

impl Package {
    pub(super) fn find(shell: &Shell, name: &str) -> Result<Self> {
        let record = shell
            .command("apt-cache")
            .args(["show", "--no-all-versions", name])
            .text()?;
        let field = |field: &str| {
            let line = record.lines().find_map(|line| line.strip_prefix(field));
            line.map(|value| value.trim().to_owned())
                .with_context(|| format!("`apt-cache show {name}` has no {field}"))
        };
        Ok(Self {
            name: field("Package:")?,
            version: field("Version:")?,
            sha256: field("SHA256:")?,
        })
    }

    /// A name for a directory.
    pub(super) fn id(&self) -> String {
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }

    /// Fetches it, checks it against the signed index, and unpacks it into a directory.
    pub(super) fn unpack(&self, shell: &Shell, directory: &Path) -> Result<()> {
        let fetched = directory.join(".fetched");
        let file = self.fetch(shell, &fetched)?;
        shell
            .command("dpkg")
            .arg("-x")
            .arg(&file)
            .arg(directory)
            .text()?;
        std::fs::remove_dir_all(&fetched).with_context(|| format!("removing {}", fetched.display()))
    }

    /// Fetches it into a directory, which is made, and checks it against the signed index.
    pub(super) fn fetch(&self, shell: &Shell, fetched: &Path) -> Result<PathBuf> {
        say(format_args!("fetching {} {}", self.name, self.version));
        std::fs::create_dir(fetched).with_context(|| format!("making {}", fetched.display()))?;
        shell
            .command("apt-get")
            .args(["download", "--quiet"])
            // Root has apt's unprivileged user fetch, which may not write into our directory.
            .args(["-o", "APT::Sandbox::User=root"])
            .arg(format!("{}={}", self.name, self.version))
            .directory(fetched)
            .text()?;
        let file = only_file(fetched)?;
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let digest = hex(&Sha256::digest(&bytes));
        ensure!(
            digest == self.sha256,
            "{} is not what the index says: its SHA-256 is {digest}, not {}",
            file.display(),
            self.sha256
        );
        Ok(file)
    }
}

/// Lists of packages may never have been fetched, or be too old: then they are fetched, by root.
pub(super) fn check(shell: &Shell, package: &str, refresh: bool) -> Result<()> {
    ensure!(
        shell.has("apt-get") && shell.has("dpkg"),
        "`{package}` is fetched with apt-get, which this system does not have. \
         Take an installed kernel with --kernel DIR; systemd is taken from this host, where it has it"
    );
    let known = || shell.command("apt-cache").args(["show", package]).works();
    if known() && !refresh {
        return Ok(());
    }
    let updated = shell.command("apt-get").args(["update", "--quiet"]).text();
    if !known() {
        updated.context("as root: apt-get update")?;
        bail!("apt knows no package `{package}`; take an installed kernel with --kernel DIR");
    }
    Ok(())
}

/// The packages that `apt-get install` would unpack.
pub(super) fn missing(shell: &Shell, packages: &[&str]) -> Result<Vec<String>> {
    let plan = shell
        .command("apt-get")
        .args(["install", "--simulate", "--no-install-recommends"])
        .args(["-o", "Debug::NoLocking=1"])
        .args(packages)
        .text()?;
    Ok(planned(&plan))
}

fn planned(plan: &str) -> Vec<String> {
    let names = plan.lines().filter_map(|line| {
        let name = line.strip_prefix("Inst ")?.split(' ').next()?;
        Some(name.to_owned())
    });
    names.collect()
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path());
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        _ => bail!("apt-get download did not bring one file"),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_unpacked_is_read_from_the_plan() {
        let plan = "Reading package lists...\n\
                    Inst libkmod2 (30 Debian:12 [amd64])\n\
                    Inst systemd [252.1] (252.38 Debian:12 [amd64]) []\n\
                    Conf systemd (252.38 Debian:12 [amd64])\n";
        assert_eq!(planned(plan), ["libkmod2", "systemd"]);
    }
}
