//! The host's settings, cgroups, devices and programs.

use serde_json::{Value, json};

use super::Need::SharedKernel;
use super::host::{
    DEVICES, EACCES, ENOENT, ENXIO, EPERM, EROFS, ETXTBSY, FORBIDDEN, OUT_OF_REACH, all_refused,
    edit, everything_worked, host_file,
};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

/// What a tool tries to write, seen from the host.
const SETTINGS: [&str; 8] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/vm/overcommit_memory",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
];
/// How many sandboxes are made at once.
const AT_ONCE: usize = 200;

/// Every masked path is absent (minus an errno) or empty.
fn masked(found: &Value) -> Result<(), String> {
    let paths = found["masked"].as_object();
    let paths = paths.ok_or_else(|| format!("nothing was looked at: {found}"))?;
    for (path, content) in paths {
        ensure(content.as_i64().is_some_and(|content| content <= 0), || {
            format!("{path} holds {content} bytes or entries")
        })?;
    }
    Ok(())
}

fn unmask(outcome: &mut axo_core::Outcome) {
    edit(outcome, |found| found["masked"]["/proc/keys"] = json!(463));
}

pub(super) const CASES: &[Case] = &[
    case!(
        no_program_can_be_opened_for_writing,
        "threat 18",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("runtime_exe", json!({}))).await?)?;
            ensure(found["self"]["write"].is_i64(), || format!("{found}"))?;
            all_refused(&found, &[EPERM, ENOENT, EACCES, ETXTBSY, EROFS])
        }
    ),
    case!(
        no_descriptor_of_any_process_leads_to_the_host,
        "threat 18",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["1"]["fds"] = json!(["/usr/bin/runner"])
            });
        }),
        |rig| {
            let found = output(&rig.call(Request::new("runtime_exe", json!({}))).await?)?;
            for (process, what) in found.as_object().into_iter().flatten() {
                for link in what["fds"].as_array().into_iter().flatten() {
                    let link = link.as_str().unwrap_or_default();
                    // "/proc" are the probe's own, with which it lists the others.
                    let harmless = [
                        "pipe:",
                        "socket:",
                        "anon_inode:",
                        "/dev/null",
                        "/proc",
                        "/axocoatl/input.json",
                    ];
                    ensure(harmless.iter().any(|kind| link.starts_with(kind)), || {
                        format!("process {process} has {link}")
                    })?;
                }
            }
            ensure(found["self"]["fds"].is_array(), || format!("{found}"))
        }
    ),
    case!(
        settings_of_the_kernel_cannot_be_written,
        "threat 22",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let before = SETTINGS.map(host_file);
            let found = output(&rig.call(Request::new("proc_writes", json!({}))).await?)?;
            same("the host's settings", SETTINGS.map(host_file), before)?;
            all_refused(&found["open"], OUT_OF_REACH)?;
            all_refused(&found["write"], OUT_OF_REACH)
        }
    ),
    case!(
        what_tells_of_the_host_is_masked,
        "threat 22",
        [SharedKernel],
        Sabotage::Outcome(unmask),
        |rig| {
            masked(&output(
                &rig.call(Request::new("proc_writes", json!({}))).await?,
            )?)
        }
    ),
    case!(
        two_hundred_at_once_are_all_masked,
        "threat 20",
        [SharedKernel],
        Sabotage::Outcome(unmask),
        |rig| {
            let calls: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let rig = rig.clone();
                    tokio::spawn(async move { rig.call(Request::new("masked", json!({}))).await })
                })
                .collect();
            for call in calls {
                masked(&output(&call.await.map_err(|e| e.to_string())??)?)?;
            }
            Ok(())
        }
    ),
    case!(
        no_cgroup_can_be_changed,
        "threat 23",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("cgroup_escape", json!({}))).await?)?;
            same("the cgroup file systems", &found["mounted"], &json!([]))?;
            all_refused(&found["found"], OUT_OF_REACH)?;
            all_refused(&found["mount"], FORBIDDEN)
        }
    ),
    case!(
        no_device_can_be_made_or_opened,
        "threat 24",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("devices", json!({}))).await?)?;
            all_refused(&found["made"], OUT_OF_REACH)?;
            all_refused(&found["open"], &[EPERM, ENOENT, EACCES, ENXIO])
        }
    ),
    case!(
        the_devices_are_the_harmless_ones,
        "threat 24",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["entries"]["kvm"] = json!({"type": "c", "major": 10, "minor": 232});
            });
        }),
        |rig| {
            let found = output(&rig.call(Request::new("devices", json!({}))).await?)?;
            let entries = found["entries"].as_object();
            let entries = entries.ok_or_else(|| format!("no /dev: {found}"))?;
            ensure(entries.contains_key("null"), || "no /dev/null".into())?;
            for (name, entry) in entries {
                let device = entry["type"] == "c" || entry["type"] == "b";
                ensure(!device || DEVICES.contains(&name.as_str()), || {
                    format!("/dev/{name} is {entry}")
                })?;
            }
            Ok(())
        }
    ),
];
