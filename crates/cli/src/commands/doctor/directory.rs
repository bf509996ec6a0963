//! Directories that must be ours alone.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Finding, State};

/// Whether a directory of ours is ours alone. One that does not exist yet is made when it is needed.
pub(super) fn examine(what: &str, path: &Path, fix: bool) -> Finding {
    let shown = path.display().to_string();
    let state = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            match nearest_parent_is_writable(path) {
                true => State::Good(format!("{shown} (made when needed)")),
                false => State::Wrong(
                    format!("{shown} does not exist and cannot be made"),
                    "make it as its owner, or set AXOCOATL_HOME to a directory of yours".into(),
                ),
            }
        }
        Err(e) => State::Wrong(
            format!("{shown}: {e}"),
            "check the permissions of its parents".into(),
        ),
        Ok(metadata) if !metadata.is_dir() => State::Wrong(
            format!("{shown} is no directory"),
            format!("remove it: rm {shown}"),
        ),
        Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => State::Wrong(
            format!("{shown} belongs to user {}", metadata.uid()),
            format!(
                "as root: chown -R {} {shown}",
                rustix::process::geteuid().as_raw()
            ),
        ),
        Ok(metadata) if metadata.mode() & 0o022 != 0 => others_can_write(path, fix),
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() => State::Wrong(
            format!("{shown} cannot be written"),
            format!("chmod u+rwx {shown}, or free the disk"),
        ),
        Ok(_) => State::Good(shown),
    };
    Finding {
        what: what.to_owned(),
        state,
    }
}

fn others_can_write(path: &Path, fix: bool) -> State {
    let shown = path.display().to_string();
    let problem = format!("{shown} can be written by others");
    let command = format!("chmod go-w {shown}");
    if !fix {
        return State::Wrong(problem, command);
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)) {
        Ok(()) => State::Repaired(problem),
        Err(e) => State::Wrong(
            format!("{problem}, and that cannot be changed: {e}"),
            command,
        ),
    }
}

fn nearest_parent_is_writable(path: &Path) -> bool {
    path.ancestors()
        .find(|path| path.exists())
        .is_some_and(|path| {
            path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_others_can_write_is_found_and_repaired_only_when_asked() {
        let home = std::env::temp_dir().join(format!("axocoatl-doctor-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(examine("x", &home, false).state, State::Wrong(..)));
        assert_eq!(mode(&home), 0o777, "examining changes nothing");
        assert!(matches!(
            examine("x", &home, true).state,
            State::Repaired(_)
        ));
        assert_eq!(mode(&home), 0o700);
        assert!(matches!(examine("x", &home, false).state, State::Good(_)));
        std::fs::remove_dir(&home).unwrap();
    }
}
