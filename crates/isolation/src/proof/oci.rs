//! The probe of tier `oci`: a bundle with nothing in it but a program of ours. A host need not have
//! any other that runs in an empty root file system.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axo_core::RunError;
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde_json::json;

use crate::Owner;

/// Directories that the tier mounts on. Everybody may look into them: the sandbox's users are others.
const DIRECTORIES: [&str; 5] = ["proc", "sys", "dev", "tmp", "axocoatl"];

/// Writes the bundle beneath `scratch`, and answers its place. It is removed with the owner.
pub(super) fn make_bundle(scratch: &Path) -> Result<(Owner, PathBuf), RunError> {
    may_execute(scratch)?;
    let owner = Owner::new_beneath(scratch).map_err(|e| failed(scratch, e))?;
    // The tier follows no link to a bundle, and a directory for temporary files may be one.
    let home = owner.path().canonicalize();
    let bundle = home.map_err(|e| failed(scratch, e))?.join("bundle");
    write(&bundle).map_err(|e| failed(&bundle, e))?;
    Ok((owner, bundle))
}

fn write(bundle: &Path) -> io::Result<()> {
    let root = bundle.join("rootfs");
    // Whatever the umask is, others may search and execute.
    let open_to_all = |path: &Path| std::fs::set_permissions(path, Permissions::from_mode(0o755));
    for name in DIRECTORIES {
        let path = root.join(name);
        std::fs::create_dir_all(&path)?;
        open_to_all(&path)?;
    }
    open_to_all(&root)?;
    // The runner, started as this, copies its standard input to its standard output.
    let program = root.join("echo");
    std::fs::write(&program, axo_helpers::runner().bytes())?;
    open_to_all(&program)?;
    let config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["/echo", "echo"],
            "env": [],
            "noNewPrivileges": true,
        },
    });
    std::fs::write(bundle.join("config.json"), config.to_string())
}

/// Refuses a file system on which nothing may be executed: a failure there says nothing of the tier.
fn may_execute(scratch: &Path) -> Result<(), RunError> {
    let noexec = statvfs(scratch).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC));
    if noexec {
        return Err(failed(scratch, "it is on a file system mounted noexec"));
    }
    Ok(())
}

fn failed(path: &Path, source: impl Into<axo_core::BoxError>) -> RunError {
    RunError::Host {
        doing: "writing the probe of tier oci to".into(),
        path: Some(path.to_owned()),
        fix: "set TMPDIR to a directory that can be written and executed from".into(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_bundle_can_be_entered_by_a_sandboxs_user_and_goes_with_its_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let (owner, bundle) = make_bundle(scratch.path()).unwrap();
        let mode = |path: &str| std::fs::metadata(bundle.join(path)).unwrap().mode() & 0o777;
        for path in ["rootfs", "rootfs/echo", "rootfs/proc", "rootfs/axocoatl"] {
            assert_eq!(mode(path) & 0o005, 0o005, "{path}");
        }
        drop(owner);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
