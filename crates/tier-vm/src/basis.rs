//! What all machines that are stored on this host have in common: with another installation, processor
//! or kernel, none of them is of use any more.

use serde_json::json;

use crate::artifacts::Artifacts;
use crate::begin::COMMAND_LINE;
use crate::{digest, initramfs};

/// Changed when what was stored before is of no use any more for a reason that does not show below.
const FORMAT: u32 = 3;
/// Digits of the digest that are told, each 4 bits.
const DIGITS: usize = 16;

/// What their names begin with.
pub(crate) fn prefix(artifacts: &Artifacts) -> String {
    let basis = json!({
        "format": FORMAT,
        "firecracker": artifacts.versions.firecracker.sha256,
        "kernel": artifacts.versions.kernel.sha256,
        "initramfs": initramfs::digest(artifacts),
        "command_line": COMMAND_LINE,
        "processor": processor(),
    });
    let mut prefix = digest::of(basis.to_string().as_bytes());
    prefix.truncate(DIGITS);
    prefix.push('-');
    prefix
}

/// The processor as a snapshot depends on it, and the kernel that runs machines.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let kept = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "microcode",
        "flags",
    ];
    let lines = first.lines().filter(|line| {
        line.split('\t')
            .next()
            .is_some_and(|key| kept.contains(&key.trim()))
    });
    // A distribution builds a kernel again under the same release; its version says when.
    let kernel = ["osrelease", "version"]
        .map(|name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")))
        .map(Result::unwrap_or_default);
    let kernel = kernel.iter().map(|text| text.trim());
    lines.chain(kernel).collect::<Vec<_>>().join("\n")
}
