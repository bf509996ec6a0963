//! The `config.json` of a sandbox: everything that confines a tool but its seccomp filter, which the
//! runner installs itself.

use axo_core::{Mount, MountMode};
use axo_runner::Stage;
use serde_json::{Value, json};

use crate::tool::{TOOL_FILES, Tool};

/// Hidden from the tool: files become `/dev/null`, directories empty.
pub(crate) const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/interrupts",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Cannot be written by the tool, whoever it is.
pub(crate) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Where each bind of a sandbox goes, in the order in which its sources are handed over.
pub(crate) fn bind_targets<'a>(tool: &Tool, mounts: &'a [Mount]) -> Vec<(&'a str, bool)> {
    let files = tool.files.is_some().then_some((TOOL_FILES, true));
    files
        .into_iter()
        .chain(
            mounts
                .iter()
                .map(|mount| (mount.target.as_str(), mount.mode == MountMode::ReadOnly)),
        )
        .collect()
}

/// The configuration, but for the user namespace, which the runner makes and adds. `cgroup` is what
/// libcontainer needs to know of it: its path and resources, where systemd makes it.
pub(crate) fn config(
    tool: &Tool,
    mounts: &[Mount],
    stage: &Stage,
    cgroup: Option<(String, Value)>,
) -> Value {
    let (cgroups_path, resources) = cgroup.unzip();
    let (uid, gid) = tool.user;
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "hostname": "axocoatl",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": uid, "gid": gid},
            // What runs comes with the call; libcontainer only checks that there is something.
            "args": [tool.program.path],
            "env": [],
            "cwd": tool.directory,
            "noNewPrivileges": true,
            // All five sets, explicitly: a set that is left out is inherited.
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []
            },
        },
        "mounts": mount_list(tool, mounts, stage),
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": namespaces,
            "resources": resources,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// The file systems of the kernel's own, and a `/dev` for what is made there, as every container has
/// them.
pub(crate) fn kernels_mounts() -> [Value; 3] {
    [
        json!({
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        }),
        json!({
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        }),
        json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"],
        }),
    ]
}

fn mount_list(tool: &Tool, mounts: &[Mount], stage: &Stage) -> Vec<Value> {
    let bind = |source: std::path::PathBuf, target: &str, options: &[&str]| {
        let options = [&["bind", "nosuid", "nodev"], options].concat();
        json!({"destination": target, "type": "bind", "source": source, "options": options})
    };
    let mut all = kernels_mounts().to_vec();
    all.extend([
        // One bounded tmpfs is behind these three.
        bind(stage.axocoatl(), "/axocoatl", &["rw", "noexec"]),
        bind(stage.tmp(), "/tmp", &["rw"]),
        bind(stage.shm(), "/dev/shm", &["rw", "noexec"]),
        bind(
            stage.input_file(),
            "/axocoatl/input.json",
            &["ro", "noexec"],
        ),
    ]);
    for (number, (target, read_only)) in bind_targets(tool, mounts).into_iter().enumerate() {
        let access = if read_only { "ro" } else { "rw" };
        all.push(bind(stage.mount(number), target, &[access]));
    }
    all
}
