//! The live process's mounts.

use axo_core::LimitKind;
use serde_json::{Value, json};

use super::Need::{Files, Kernel, Limit, SharedKernel};
use super::host::{DEVICES, edit};
use super::{Case, Sabotage, case, ensure, output};
use crate::rig::{Request, Rig};

/// What is read-only or hidden under /proc and /sys (threats.md).
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
const MASKED: [&str; 10] = [
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
];

/// The mounts as a tool sees them, in the order in which they cover each other.
async fn mounts(rig: &Rig) -> Result<Vec<Value>, String> {
    let found = output(&rig.call(Request::new("posture", json!({}))).await?)?;
    let mounts = found["mounts"].as_array().cloned().unwrap_or_default();
    ensure(!mounts.is_empty(), || format!("no mounts: {found}"))?;
    Ok(mounts)
}

/// Whether it is one harmless device, mounted by itself: to have it, or to hide a file.
fn is_node(mount: &Value) -> bool {
    let root = mount["root"].as_str().unwrap_or_default();
    // As the root of a file system for devices, or of one that holds them in /dev.
    DEVICES.iter().any(|node| {
        root.strip_suffix(node)
            .is_some_and(|before| before == "/" || before.ends_with("/dev/"))
    })
}

/// Whether it is an empty directory that hides another.
fn is_mask(mount: &Value) -> bool {
    let hides = point(mount).starts_with("/proc/") || point(mount).starts_with("/sys/");
    hides && mount["type"] == "tmpfs" && has(mount, &["ro"]).is_ok()
}

fn point(mount: &Value) -> &str {
    mount["mount_point"].as_str().unwrap_or_default()
}

/// The mount that is seen at `path`.
fn at<'a>(mounts: &'a [Value], path: &str) -> Result<&'a Value, String> {
    let found = mounts.iter().rev().find(|mount| point(mount) == path);
    found.ok_or_else(|| format!("nothing is mounted at {path}"))
}

/// `mount` has each of these options, of its own or of its file system.
fn has(mount: &Value, options: &[&str]) -> Result<(), String> {
    for option in options {
        ensure(option_of(mount, option).is_some(), || {
            format!("{} is not {option}: {mount}", point(mount))
        })?;
    }
    Ok(())
}

/// The value of an option: of `size=4k` with `size`, `4k`.
fn option_of<'a>(mount: &'a Value, option: &str) -> Option<&'a str> {
    ["options", "super_options"].iter().find_map(|kind| {
        mount[kind].as_str()?.split(',').find_map(|found| {
            let rest = found.strip_prefix(option)?;
            if rest.is_empty() {
                Some(rest)
            } else {
                rest.strip_prefix('=')
            }
        })
    })
}

fn bytes(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(['k', 'm', 'g']);
    let unit = match &size[digits.len()..] {
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 1,
    };
    Some(digits.parse::<u64>().ok()? * unit)
}

/// Makes the mount at `path` writable, executable and all that.
fn loosen(outcome: &mut axo_core::Outcome, path: &str) {
    edit(outcome, |found| {
        for mount in found["mounts"].as_array_mut().into_iter().flatten() {
            if point(mount) == path {
                mount["options"] = json!("rw,relatime");
                mount["super_options"] = json!("rw");
            }
        }
    });
}

pub(super) const CASES: &[Case] = &[
    case!(
        the_root_is_read_only,
        "§5.1 file system, posture",
        [Kernel],
        Sabotage::Outcome(|outcome| loosen(outcome, "/")),
        |rig| { has(at(&mounts(&rig).await?, "/")?, &["ro", "nosuid", "nodev"]) }
    ),
    case!(
        no_mount_honours_set_user_id_or_devices,
        "posture, threats 24 and 27",
        [Kernel],
        Sabotage::Outcome(|outcome| loosen(outcome, "/proc")),
        |rig| {
            let plain = |mount: &&Value| !is_node(mount) && !is_mask(mount);
            for mount in mounts(&rig).await?.iter().filter(plain) {
                has(mount, &["nosuid"])?;
                // Where the harmless devices are, they have to work.
                if point(mount) != "/dev" && !point(mount).starts_with("/dev/") {
                    has(mount, &["nodev"])?;
                }
            }
            Ok(())
        }
    ),
    case!(
        only_scratch_is_writable,
        "§5.1 file system, posture",
        [Kernel],
        Sabotage::Outcome(|outcome| loosen(outcome, "/")),
        |rig| {
            for mount in &mounts(&rig).await? {
                let at = point(mount);
                // /proc itself is writable where a process writes to its own entries.
                let may =
                    ["/tmp", "/axocoatl", "/proc", "/dev"].contains(&at) || at.starts_with("/dev/");
                // Nor is a file scratch that is hidden by the null device.
                if !may && !is_node(mount) {
                    has(mount, &["ro"])?;
                }
            }
            Ok(())
        }
    ),
    case!(
        scratch_is_bounded_in_bytes_and_files,
        "posture, threats 3 and 4",
        [SharedKernel, Files, Limit(LimitKind::Disk)],
        Sabotage::Outcome(|outcome| loosen(outcome, "/tmp")),
        |rig| {
            let mounts = mounts(&rig).await?;
            let limit = crate::rig::DEFAULT.disk.bytes();
            for path in ["/tmp", "/axocoatl", "/dev"] {
                let mount = at(&mounts, path)?;
                let size = option_of(mount, "size").and_then(bytes);
                ensure(size.is_some_and(|size| size <= limit), || {
                    format!("{path} holds {size:?} bytes: {mount}")
                })?;
                let files = option_of(mount, "nr_inodes").and_then(bytes);
                ensure(files.is_some_and(|files| files <= 8192), || {
                    format!("{path} holds {files:?} files: {mount}")
                })?;
            }
            Ok(())
        }
    ),
    case!(
        what_the_kernel_tells_and_takes_is_covered,
        "posture, threats 20 and 22",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                if let Some(mounts) = found["mounts"].as_array_mut() {
                    mounts.retain(|mount| !point(mount).starts_with("/proc/"));
                }
            });
        }),
        |rig| {
            let mounts = mounts(&rig).await?;
            let there = |path: &&&str| std::path::Path::new(path).exists();
            for path in READ_ONLY.iter().filter(there) {
                has(at(&mounts, path)?, &["ro"])?;
            }
            // The kernel is the host's: what the host has, the tool would have.
            for path in MASKED.iter().filter(there) {
                let mount = at(&mounts, path)?;
                let hidden = is_node(mount) || is_mask(mount);
                ensure(hidden, || format!("{path} is not hidden: {mount}"))?;
            }
            Ok(())
        }
    ),
    case!(
        no_mount_reaches_the_host,
        "posture, threat 23",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                let planted = json!({"mount_point": "/sys/fs/cgroup", "root": "/", "type": "cgroup",
                    "options": "ro,nosuid,nodev,noexec"});
                if let Some(mounts) = found["mounts"].as_array_mut() {
                    mounts.push(planted);
                }
            });
        }),
        |rig| {
            for mount in &mounts(&rig).await? {
                let kind = mount["type"].as_str().unwrap_or_default();
                let kernel = [
                    "cgroup",
                    "cgroup2",
                    "debugfs",
                    "tracefs",
                    "securityfs",
                    "bpf",
                    "configfs",
                ];
                ensure(!kernel.contains(&kind), || format!("{mount}"))?;
                let shared = mount["propagation"].as_array().into_iter().flatten();
                for group in shared.filter_map(Value::as_str) {
                    ensure(!group.starts_with("shared:"), || {
                        format!("what is mounted there is mounted elsewhere: {mount}")
                    })?;
                }
            }
            Ok(())
        }
    ),
];
