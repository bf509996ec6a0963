//! What is written to a cgroup's files, on each version.

use std::path::Path;

use axo_core::EffectiveLimits;
use axo_runner::CgroupSetting;

/// Whether a hierarchy of v1 has a controller: it is mounted under their names.
pub(super) fn has(hierarchy: &Path, controller: &str) -> bool {
    let name = hierarchy.file_name().unwrap_or_default().to_string_lossy();
    name.split(',').any(|part| part == controller)
}

/// Period in which a share of processor time is counted, in microseconds: the kernel's default.
pub(super) const CPU_PERIOD: u64 = 100_000;

/// Processor time in a period, in microseconds.
pub(super) fn cpu_quota(limits: &EffectiveLimits) -> u64 {
    /// The least that the kernel takes.
    const LEAST: f64 = 1_000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share is checked to be between 0.01 and 1024 cores"
    )]
    let quota = (limits.cpu.cores() * CPU_PERIOD as f64).max(LEAST) as u64;
    quota
}

fn setting(file: &str, value: impl ToString) -> CgroupSetting {
    CgroupSetting {
        file: file.to_owned(),
        value: value.to_string(),
        required: true,
    }
}

/// One that a host without swap accounting does not have.
fn swap_setting(file: &str, value: impl ToString) -> CgroupSetting {
    CgroupSetting {
        required: false,
        ..setting(file, value)
    }
}

pub(crate) fn v2_settings(limits: &EffectiveLimits) -> Vec<CgroupSetting> {
    let mut settings = v2_limits(limits);
    // What does not fit ends the whole tool, and not a part that it may not miss.
    settings.push(setting("memory.oom.group", 1));
    settings
}

/// The limits alone, which systemd sets as well.
pub(crate) fn v2_limits(limits: &EffectiveLimits) -> Vec<CgroupSetting> {
    vec![
        setting("memory.max", limits.memory.bytes()),
        swap_setting("memory.swap.max", 0),
        setting("cpu.max", format!("{} {CPU_PERIOD}", cpu_quota(limits))),
        setting("pids.max", limits.pids),
    ]
}

/// What is set in a hierarchy of v1; `None` for one that sandboxes need not be in.
pub(super) fn v1_settings(
    hierarchy: &Path,
    limits: &EffectiveLimits,
    devices: &[String],
) -> Option<Vec<CgroupSetting>> {
    let mut settings = Vec::new();
    let mut ours = false;
    let mut add = |controller: &str, more: Vec<CgroupSetting>| {
        if has(hierarchy, controller) {
            ours = true;
            settings.extend(more);
        }
    };
    let memory = limits.memory.bytes();
    add(
        "memory",
        vec![
            setting("memory.limit_in_bytes", memory),
            swap_setting("memory.memsw.limit_in_bytes", memory),
            swap_setting("memory.swappiness", 0),
        ],
    );
    add(
        "cpu",
        vec![
            setting("cpu.cfs_period_us", CPU_PERIOD),
            setting("cpu.cfs_quota_us", cpu_quota(limits)),
        ],
    );
    add("cpuacct", Vec::new());
    add("pids", vec![setting("pids.max", limits.pids)]);
    let allowed = devices
        .iter()
        .map(|device| setting("devices.allow", device));
    let denied = setting("devices.deny", "a");
    add("devices", std::iter::once(denied).chain(allowed).collect());
    ours.then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_set_on_each_version() {
        let limits = EffectiveLimits::DEFAULT;
        let files = |settings: Vec<CgroupSetting>| -> Vec<String> {
            settings.into_iter().map(|setting| setting.file).collect()
        };
        let v2 = files(v2_settings(&limits));
        for file in ["memory.max", "memory.swap.max", "cpu.max", "pids.max"] {
            assert!(v2.iter().any(|f| f == file), "{file}");
        }
        let v1 = |name: &str| v1_settings(Path::new(name), &limits, &[]).map(files);
        assert!(
            v1("/c/cpu,cpuacct")
                .unwrap()
                .contains(&"cpu.cfs_quota_us".to_owned())
        );
        assert!(
            v1("/c/memory")
                .unwrap()
                .contains(&"memory.limit_in_bytes".to_owned())
        );
        assert!(v1("/c/pids").unwrap().contains(&"pids.max".to_owned()));
        assert_eq!(v1("/c/devices").unwrap()[0], "devices.deny");
        assert_eq!(v1("/c/cpuset"), None);
    }
}
