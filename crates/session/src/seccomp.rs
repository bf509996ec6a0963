//! The system calls of a session: podman's own profile without what an agent's work never needs.
//!
//! Podman's published profile allows `mount`, `unshare`, `ptrace`, `keyctl` and others without
//! conditions and leaves them to capabilities. Here they fail, and so does making a namespace by
//! `clone`. What is new to the profile fails anyway: it lists what is allowed.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::SessionError;

/// Where distributions put the profile (containers-common).
pub(crate) const PROFILES: [&str; 2] = [
    "/etc/containers/seccomp.json",
    "/usr/share/containers/seccomp.json",
];
/// A profile has about 30 KiB.
const MAX_PROFILE_BYTES: u64 = 1 << 20;

/// What no session may do.
const DENIED: [&str; 40] = [
    // Mounts and namespaces.
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "unshare",
    "setns",
    // Looking into, and acting for, other processes.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    // Keys, handles and the kernel's own doors.
    "keyctl",
    "add_key",
    "request_key",
    "name_to_handle_at",
    "open_by_handle_at",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "vmsplice",
    "memfd_secret",
    "fanotify_init",
    "lookup_dcookie",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "acct",
    "reboot",
    "swapon",
];
/// Every `CLONE_NEW*` flag of `clone(2)`.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Writes the profile of sessions into `directory` and says where.
pub(crate) fn write_profile(directory: &Path) -> Result<PathBuf, SessionError> {
    let (source, text) = installed()?;
    let profile = harden(&text).ok_or_else(|| SessionError::Record {
        path: source,
        why: "it is no seccomp profile of podman's".to_owned(),
    })?;
    let path = directory.join("seccomp.json");
    let text = profile.to_string();
    if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(path);
    }
    let temporary = directory.join(format!("seccomp.{}", uuid::Uuid::new_v4().simple()));
    std::fs::write(&temporary, text).map_err(SessionError::disk("writing", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(SessionError::disk("replacing", &path))?;
    Ok(path)
}

fn installed() -> Result<(PathBuf, String), SessionError> {
    use std::io::Read as _;
    for path in PROFILES.map(Path::new) {
        match std::fs::File::open(path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_PROFILE_BYTES)
                    .read_to_string(&mut text)
                    .map_err(SessionError::disk("reading", path))?;
                return Ok((path.to_owned(), text));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(SessionError::disk("opening", path)(e)),
        }
    }
    Err(SessionError::Unready(format!(
        "there is no seccomp profile at {}: install containers-common (Debian: golang-github-containers-common)",
        PROFILES.join(" or ")
    )))
}

/// The profile without what is denied; `None` if it is not one that lists what is allowed.
fn harden(text: &str) -> Option<Value> {
    let mut profile: Value = serde_json::from_str(text).ok()?;
    if profile.get("defaultAction")? != "SCMP_ACT_ERRNO" {
        return None;
    }
    let rules = profile.get_mut("syscalls")?.as_array_mut()?;
    for rule in rules.iter_mut() {
        rule.get_mut("names")?.as_array_mut()?.retain(|name| {
            let name = name.as_str().unwrap_or_default();
            !DENIED.contains(&name) && name != "clone" && name != "clone3"
        });
    }
    rules.retain(|rule| {
        rule["names"]
            .as_array()
            .is_some_and(|names| !names.is_empty())
    });
    rules.push(json!({
        "names": ["clone"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
    }));
    // Its flags are in memory, where no filter can see them; without it libraries use clone.
    rules.push(json!({
        "names": ["clone3"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": ENOSYS,
    }));
    rules.push(json!({
        "names": DENIED.as_slice(),
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": EPERM,
    }));
    Some(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_denied_is_allowed_anywhere() {
        let (_, text) = installed().unwrap();
        let profile = harden(&text).unwrap();
        for rule in profile["syscalls"].as_array().unwrap() {
            if rule["action"] != "SCMP_ACT_ALLOW" {
                continue;
            }
            for name in rule["names"].as_array().unwrap() {
                let name = name.as_str().unwrap();
                assert!(!DENIED.contains(&name), "{name}");
                assert_ne!(name, "clone3");
                assert!(name != "clone" || !rule["args"].as_array().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn a_profile_that_lists_what_is_forbidden_is_not_used() {
        assert!(harden("{}").is_none());
        assert!(harden(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#).is_none());
        assert!(harden("not json").is_none());
    }
}
