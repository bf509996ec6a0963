//! The host's directories that the machine sees.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Arguments;

/// Where the machine has something of its own, and the host's files are not seen.
const HIDDEN: &[&str] = &[
    "/tmp", "/run", "/dev", "/proc", "/sys", "/results", "/scratch",
];

/// Directories to show in spite of that: those asked for, and the one to work in.
pub(super) fn shares(asked_for: &[PathBuf], directory: &Path) -> Result<Vec<PathBuf>> {
    let mut shares = Vec::new();
    for share in asked_for {
        let path = share
            .canonicalize()
            .with_context(|| format!("--share {}", share.display()))?;
        if !path.is_dir() {
            bail!("--share {}: it is no directory", share.display());
        }
        shares.push(path);
    }
    if HIDDEN.iter().any(|hidden| directory.starts_with(hidden))
        && !shares.iter().any(|share| directory.starts_with(share))
    {
        shares.push(directory.to_owned());
    }
    // What lies within another comes after it, or would be hidden by it.
    shares.sort();
    shares.dedup();
    Ok(shares)
}

/// The directory that is `/results` in the machine.
pub(super) fn results(arguments: &Arguments, run: &Path) -> Result<PathBuf> {
    let path = match &arguments.results {
        Some(path) => std::path::absolute(path).context("the working directory is gone")?,
        None => run.join("results"),
    };
    std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    if arguments.user.is_some() {
        // In the machine that user is neither its owner nor of its group.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o1777))
            .with_context(|| format!("opening {} to --user", path.display()))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_working_directory_is_shared() {
        let shares = |directory: &str| shares(&[], Path::new(directory)).unwrap();
        assert!(shares("/home/here").is_empty());
        assert!(shares("/tmpfiles").is_empty());
        assert_eq!(shares("/tmp/clone"), [Path::new("/tmp/clone")]);
    }

    #[test]
    fn a_share_comes_before_what_lies_within_it() {
        let asked = ["/usr/bin", "/usr"].map(PathBuf::from);
        let shares = shares(&asked, Path::new("/")).unwrap();
        assert_eq!(shares[0], Path::new("/usr"));
    }
}
