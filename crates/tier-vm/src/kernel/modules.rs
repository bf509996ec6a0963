//! Which modules a guest needs, and in which order they are loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::modinfo::{ModInfo, normal};
use super::{KernelError, Module};

/// What a guest needs of its kernel: as modules, or built in. In the order of loading, in which
/// what one depends on is put before it.
pub(super) const NEEDED: [Need; 11] = [
    // The devices of a Firecracker machine.
    Need::new("virtio_mmio", "CONFIG_VIRTIO_MMIO"),
    // The tool's image and files.
    Need::new("virtio_blk", "CONFIG_VIRTIO_BLK"),
    // How host and guest talk.
    Need::new("vsock", "CONFIG_VSOCKETS"),
    Need::new("vmw_vsock_virtio_transport", "CONFIG_VIRTIO_VSOCKETS"),
    // What the tool's image is.
    Need::new("squashfs", "CONFIG_SQUASHFS"),
    // How it is compressed ([`crate::disk`]).
    Need::built_in("CONFIG_SQUASHFS_LZ4"),
    // What makes it writable where a tool may write.
    Need::new("overlay", "CONFIG_OVERLAY_FS"),
    // What holds the tool to its limits.
    Need::built_in("CONFIG_MEMCG"),
    Need::built_in("CONFIG_CGROUP_PIDS"),
    Need::built_in("CONFIG_CFS_BANDWIDTH"),
    // Firecracker tells a guest where its devices are by ACPI.
    Need::built_in("CONFIG_ACPI"),
];

/// One thing that is needed.
pub(super) struct Need {
    /// As a module, if it can be one.
    pub(super) module: Option<&'static str>,
    /// As an option of the kernel's configuration.
    pub(super) option: &'static str,
}

impl Need {
    const fn new(module: &'static str, option: &'static str) -> Self {
        Self {
            module: Some(module),
            option,
        }
    }

    const fn built_in(option: &'static str) -> Self {
        Self {
            module: None,
            option,
        }
    }
}

/// How deep modules depend on each other, at most. What a guest needs is three deep.
const MAX_ROUNDS: usize = 16;

/// Modules of a guest, at most. There are about a dozen.
const MAX_MODULES: usize = 64;

/// Where modules are.
pub(super) trait Source {
    /// Looks for modules by their names.
    fn find(&self, names: &BTreeSet<String>) -> Result<Found, KernelError>;
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Names of those that are built in, whether looked for or not.
    pub(super) built_in: BTreeSet<String>,
    /// Of those that were looked for; decompressed.
    pub(super) modules: BTreeMap<String, Vec<u8>>,
}

/// The modules that a guest with the kernel `release` needs, in the order of loading.
pub(super) fn gather(release: &str, source: &dyn Source) -> Result<Vec<Module>, KernelError> {
    let needed: Vec<String> = NEEDED
        .iter()
        .filter_map(|need| need.module.map(normal))
        .collect();
    let mut built_in = BTreeSet::new();
    let mut known: BTreeMap<String, (ModInfo, Vec<u8>)> = BTreeMap::new();
    // Each round brings what the last one's modules depend on.
    let mut wanted: BTreeSet<String> = needed.iter().cloned().collect();
    for _ in 0..MAX_ROUNDS {
        if wanted.is_empty() || known.len() + wanted.len() > MAX_MODULES {
            break;
        }
        let found = source.find(&wanted)?;
        built_in.extend(found.built_in);
        let mut next = BTreeSet::new();
        for (name, bytes) in found.modules {
            let info = check(release, &name, &bytes)?;
            next.extend(info.depends.iter().cloned());
            known.insert(name, (info, bytes));
        }
        let lacks = missing(&wanted, &known, &built_in);
        if !lacks.is_empty() {
            return Err(KernelError::Lacks {
                release: release.to_owned(),
                lacks,
            });
        }
        next.retain(|name| !known.contains_key(name) && !built_in.contains(name));
        wanted = next;
    }
    if !wanted.is_empty() {
        return Err(KernelError::malformed(
            release,
            "its modules depend on too many others",
        ));
    }
    let mut ordered = Vec::new();
    for name in needed {
        load(&name, &mut known, &mut ordered);
    }
    Ok(ordered)
}

/// Whether a module is for this kernel.
fn check(release: &str, name: &str, bytes: &[u8]) -> Result<ModInfo, KernelError> {
    let info = ModInfo::of(bytes).ok_or_else(|| {
        KernelError::malformed(&format!("module {name}"), "it is no kernel module")
    })?;
    if info.release != release {
        return Err(KernelError::Foreign {
            module: name.to_owned(),
            of: info.release,
            kernel: release.to_owned(),
        });
    }
    Ok(info)
}

fn missing(
    wanted: &BTreeSet<String>,
    known: &BTreeMap<String, (ModInfo, Vec<u8>)>,
    built_in: &BTreeSet<String>,
) -> Vec<String> {
    let there = |name: &&String| known.contains_key(*name) || built_in.contains(*name);
    wanted.iter().filter(|name| !there(name)).cloned().collect()
}

/// Moves `name` from `known` to the end of `ordered`, and first what it depends on. As each is taken
/// before its dependencies are looked at, a circle ends.
fn load(name: &str, known: &mut BTreeMap<String, (ModInfo, Vec<u8>)>, ordered: &mut Vec<Module>) {
    let Some((info, bytes)) = known.remove(name) else {
        return;
    };
    for dependency in &info.depends {
        load(dependency, known, ordered);
    }
    ordered.push(Module {
        name: name.to_owned(),
        bytes,
    });
}
