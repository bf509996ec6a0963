//! Which modules are loaded first, and in what order.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::shell::Shell;

use super::kernel::Kernel;

/// Without these the machine has no root file system, or cannot answer. A kernel may have them built in.
const NEEDED: &[&str] = &[
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_console",
];

/// What tests use. The scratch disk needs the first four. Those the kernel does not have are left out;
/// those not listed are loaded by the kernel itself when they are first used.
const WANTED: &[&str] = &[
    "virtio_blk",
    "crc32c_generic",
    "crc32c_intel",
    "ext4",
    "virtio_rng",
    "kvm_amd",
    "vsock",
    "vhost_vsock",
    "vsock_loopback",
    "tun",
    "fuse",
    "loop",
    "veth",
    "bridge",
];

/// Files to load, each after those it depends on.
pub(super) fn in_order(kernel: &Kernel) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = kernel.modules.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    // A kernel for one machine may have all of them built in, or none.
    order(
        &read("modules.dep")?,
        &read("modules.builtin").unwrap_or_default(),
    )
}

fn order(dependencies: &str, built_in: &str) -> Result<Vec<String>> {
    let dependencies: HashMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let files: HashMap<String, &str> = dependencies
        .keys()
        .map(|file| (name(file), *file))
        .collect();
    let built_in: HashSet<String> = built_in.lines().map(name).collect();

    let mut order = Vec::new();
    for wanted in NEEDED.iter().chain(WANTED) {
        match files.get(*wanted) {
            Some(file) => add(file, &dependencies, &mut order),
            None if built_in.contains(*wanted) || WANTED.contains(wanted) => {}
            None => bail!("the kernel has no module `{wanted}`, which the machine needs"),
        }
    }
    Ok(order)
}

/// depmod refuses circles, so there is an end.
fn add(file: &str, dependencies: &HashMap<&str, Vec<&str>>, order: &mut Vec<String>) {
    if order.iter().any(|added| added == file) {
        return;
    }
    for needed in dependencies.get(file).into_iter().flatten() {
        add(needed, dependencies, order);
    }
    order.push(file.to_owned());
}

/// The module's name as the kernel spells it: that of its file, `-` as `_`.
pub(super) fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem = base.split(".ko").next().unwrap_or(base);
    stem.replace('-', "_")
}

/// A module's bytes as `insmod` takes them.
pub(super) fn read(shell: &Shell, path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(path).with_context(|| format!("reading {}", path.display())),
    };
    let output = shell.command(program).arg("-dc").arg(path).output()?;
    if !output.status.success() {
        bail!(
            "`{program} -dc {}` ended with {}",
            path.display(),
            output.status
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: &str = "kernel/fs/overlayfs/overlay.ko\nkernel/drivers/virtio/virtio_pci.ko\n";

    #[test]
    fn a_module_comes_after_what_it_depends_on() {
        let dependencies = "n/9p.ko: n/9pnet.ko n/netfs.ko\nn/9pnet.ko:\nn/netfs.ko:\n\
                            n/9pnet_virtio.ko.xz: n/9pnet.ko\nc/virtio_console.ko:\nk/kvm-amd.ko: k/kvm.ko\nk/kvm.ko:\n";
        assert_eq!(
            order(dependencies, BUILT_IN).unwrap(),
            [
                "n/9pnet.ko",
                "n/9pnet_virtio.ko.xz",
                "n/netfs.ko",
                "n/9p.ko",
                "c/virtio_console.ko",
                "k/kvm.ko",
                "k/kvm-amd.ko"
            ]
        );
    }

    #[test]
    fn a_kernel_without_a_needed_module_is_refused() {
        let error = order("n/9p.ko:\n", BUILT_IN).unwrap_err().to_string();
        assert!(error.contains("9pnet_virtio"), "{error}");
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(name("kernel/arch/x86/kvm/kvm-amd.ko.xz"), "kvm_amd");
    }
}
