//! systemd for `--init systemd`: the host's, or packages of Debian as a layer over the host's files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::shell::Shell;

use super::apt::{self, Package, hex};
use super::cache::Cache;

const PACKAGES: &[&str] = &["systemd", "dbus", "dbus-user-session", "libpam-systemd"];

/// What tells that the host has all of them: one file of each, in the places distributions have them.
const SIGNS: &[&[&str]] = &[
    &["usr/lib/systemd/systemd", "lib/systemd/systemd"],
    &["usr/bin/dbus-daemon", "usr/bin/dbus-broker"],
    &["usr/lib/systemd/user/dbus.socket"],
    &[
        "usr/lib/x86_64-linux-gnu/security/pam_systemd.so",
        "lib/x86_64-linux-gnu/security/pam_systemd.so",
        "usr/lib64/security/pam_systemd.so",
        "usr/lib/security/pam_systemd.so",
    ],
];

/// The layer to put over the host's files; none if the host has systemd.
pub(super) fn layer(shell: &Shell, cache: &Cache, refresh: bool) -> Result<Option<PathBuf>> {
    if is_installed(Path::new("/")) {
        return Ok(None);
    }
    apt::check(shell, PACKAGES[0], refresh)?;
    let packages = apt::missing(shell, PACKAGES)?
        .iter()
        .map(|name| Package::find(shell, name))
        .collect::<Result<Vec<_>>>()?;
    let ids: Vec<_> = packages.iter().map(Package::id).collect();
    let digest = hex(&Sha256::digest(ids.join("\n")));
    let name = format!("systemd-layer-{}", &digest[..16]);
    let layer = cache.package_or(&name, |directory| {
        for package in &packages {
            package.unpack(shell, directory)?;
        }
        merge_usr(shell, directory)
    })?;
    Ok(Some(layer))
}

/// Moves what packages have in /lib to where the host's link of that name points: a directory in the
/// layer would hide the link.
fn merge_usr(shell: &Shell, layer: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (directory, usr) = (layer.join(name), layer.join("usr").join(name));
        if !directory.is_dir() || !Path::new("/").join(name).is_symlink() {
            continue;
        }
        std::fs::create_dir_all(&usr).with_context(|| format!("making {}", usr.display()))?;
        shell
            .command("cp")
            .arg("--archive")
            .args([directory.join("."), usr])
            .text()?;
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

fn is_installed(root: &Path) -> bool {
    SIGNS
        .iter()
        .all(|places| places.iter().any(|place| root.join(place).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_lacks_one_package_does_not_have_it() {
        let root = tempfile::tempdir().unwrap();
        for places in SIGNS {
            assert!(!is_installed(root.path()));
            let file = root.path().join(places[0]);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        assert!(is_installed(root.path()));
    }
}
