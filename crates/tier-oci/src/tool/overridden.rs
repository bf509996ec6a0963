//! What of a bundle's configuration does not hold.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::bundle::{BundleError, open_bundle, read_config};
use super::root;

/// What of a bundle's configuration does not hold, in words. Everything of a bundle is replaced by
/// the tier's own but the command, its variables and directory, and a user that is not root.
///
/// # Errors
/// [`BundleError`] if the bundle cannot be read.
pub(super) fn of_bundle(directory: &Path) -> Result<Vec<String>, BundleError> {
    let (_, text) = read_config(&open_bundle(directory)?, directory)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(BundleError::ConfigInvalid)?;
    Ok(overridden(&spec))
}

fn overridden(spec: &Spec) -> Vec<String> {
    let mut all = Vec::new();
    let mut say = |holds: bool, text: &str| {
        if holds {
            all.push(text.to_owned());
        }
    };
    if let Some(process) = spec.process() {
        say(
            process.terminal().unwrap_or(false),
            "process.terminal: a tool has no terminal",
        );
        say(
            process.user().uid() == 0,
            "process.user: root becomes an unprivileged user",
        );
        say(
            process
                .user()
                .additional_gids()
                .as_ref()
                .is_some_and(|groups| !groups.is_empty()),
            "process.user.additionalGids: a tool has no further groups",
        );
        say(
            process.capabilities().as_ref().is_some_and(has_any),
            "process.capabilities: a tool has none",
        );
        say(
            process.no_new_privileges() != Some(true),
            "process.noNewPrivileges: always set",
        );
        say(
            process
                .rlimits()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
            "process.rlimits: replaced by the tool's limits",
        );
        say(
            process.apparmor_profile().is_some() || process.selinux_label().is_some(),
            "process.apparmorProfile, selinuxLabel: not applied",
        );
    }
    say(
        spec.root()
            .as_ref()
            .is_some_and(|root| root.readonly() != Some(true)),
        "root.readonly: always true",
    );
    say(
        spec.hooks().is_some(),
        "hooks: not run, for they would run on the host",
    );
    for mount in spec.mounts().iter().flatten() {
        let target = mount.destination().display();
        let ours = root::MOUNT_POINTS
            .iter()
            .any(|ours| mount.destination() == Path::new(ours))
            || mount.destination().starts_with("/dev");
        say(
            !ours,
            &format!("mounts {target}: not made; grant a mount to the tool instead"),
        );
    }
    if let Some(linux) = spec.linux() {
        say(
            linux.resources().is_some(),
            "linux.resources: replaced by the tool's limits",
        );
        say(
            linux.devices().as_ref().is_some_and(|d| !d.is_empty()),
            "linux.devices: only null, zero, full, random, urandom and tty",
        );
        say(linux.seccomp().is_some(), "linux.seccomp: replaced");
        say(
            linux.sysctl().as_ref().is_some_and(|s| !s.is_empty()),
            "linux.sysctl: not set",
        );
        say(
            linux
                .namespaces()
                .iter()
                .flatten()
                .any(|namespace| namespace.path().is_some()),
            "linux.namespaces: none of the host's is joined",
        );
        say(
            linux.cgroups_path().is_some(),
            "linux.cgroupsPath: replaced",
        );
        say(
            linux.masked_paths().is_some() || linux.readonly_paths().is_some(),
            "linux.maskedPaths, readonlyPaths: replaced by a longer list",
        );
    }
    all
}

fn has_any(capabilities: &oci_spec::runtime::LinuxCapabilities) -> bool {
    [
        capabilities.bounding(),
        capabilities.effective(),
        capabilities.inheritable(),
        capabilities.permitted(),
        capabilities.ambient(),
    ]
    .into_iter()
    .flatten()
    .any(|set| !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_does_not_hold_is_named() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/host", "type": "bind", "source": "/"}
            ],
            "process": {
                "terminal": true, "cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_KILL"]}
            },
            "hooks": {"prestart": [{"path": "/bin/true"}]},
            "linux": {"namespaces": [{"type": "network", "path": "/proc/1/ns/net"}]}
        }))
        .unwrap();
        let all = overridden(&spec).join("\n");
        for word in [
            "terminal",
            "user",
            "capabilities",
            "noNewPrivileges",
            "readonly",
            "hooks",
            "/host",
            "namespaces",
        ] {
            assert!(all.contains(word), "{word} in {all}");
        }
        assert!(!all.contains("/proc:"), "{all}");
    }
}
