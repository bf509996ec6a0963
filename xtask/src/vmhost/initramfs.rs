//! The initramfs: busybox, modules and scripts. It is put together for each run, in a few milliseconds,
//! and the same from the same: no times, no owners, a fixed order.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::Shell;

use super::guest::{Guest, SCRIPTS};
use super::kernel::Kernel;
use super::modules;

pub(super) fn write(shell: &Shell, to: &Path, kernel: &Kernel, guest: &Guest) -> Result<()> {
    let busybox = static_busybox(shell).context("there is no static busybox")?;
    let busybox =
        std::fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;

    let mut archive = Archive::default();
    for directory in ["bin", "dev", "modules"] {
        archive.directory(directory)?;
    }
    // Before anything is mounted, init's own output goes here.
    archive.add("dev/console", CHARACTER | 0o600, (5, 1), b"")?;
    archive.file("bin/busybox", 0o755, &busybox)?;
    let mut order = String::new();
    for file in modules::in_order(kernel)? {
        let name = format!("{}.ko", modules::name(&file));
        let module = modules::read(shell, &kernel.modules.join(&file))?;
        archive.file(&format!("modules/{name}"), 0o644, &module)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    for (name, script) in SCRIPTS {
        archive.file(name, 0o755, script.as_bytes())?;
    }
    archive.file("settings", 0o644, &guest.settings(kernel))?;
    archive.file("shares", 0o644, &guest.share_list()?)?;
    archive.file("command.sh", 0o644, &guest.command_script())?;
    std::fs::write(to, archive.end()?).with_context(|| format!("writing {}", to.display()))
}

/// The first busybox on PATH, if it needs no library: there is none in the initramfs.
pub(crate) fn static_busybox(shell: &Shell) -> Option<PathBuf> {
    let path = shell.find("busybox")?;
    is_static(&std::fs::read(&path).ok()?).then_some(path)
}

/// Whether a 64-bit ELF file names no program interpreter (PT_INTERP).
fn is_static(elf: &[u8]) -> bool {
    const INTERPRETER: u64 = 3;
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0u64, |n, byte| n << 8 | u64::from(*byte)),
        )
    };
    let headers = || {
        let first = usize::try_from(number(32, 8)?).ok()?;
        let size = usize::try_from(number(54, 2)?).ok()?;
        let count = usize::try_from(number(56, 2)?).ok()?;
        (0..count)
            .map(|index| number(first.checked_add(index * size)?, 4))
            .collect::<Option<Vec<_>>>()
    };
    elf.starts_with(b"\x7fELF\x02") && headers().is_some_and(|types| !types.contains(&INTERPRETER))
}

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER: u32 = 0o020_000;

/// An archive in cpio's `newc` format, as the kernel's
/// `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.add(name, DIRECTORY | 0o755, (0, 0), b"")
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.add(name, REGULAR | mode, (0, 0), content)
    }

    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        self.entries += 1;
        let (user, group, links, time, checksum) = (0, 0, 1, 0, 0);
        let fields = [
            self.entries,
            mode,
            user,
            group,
            links,
            time,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            checksum,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Result<Vec<u8>> {
        self.add("TRAILER!!!", 0, (0, 0), b"")?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_cpio_makes_it() {
        let mut archive = Archive::default();
        archive.file("ab", 0o644, b"hello").unwrap();
        let bytes = archive.end().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with("07070100000001000081a4"), "{text}");
        // The header's 110 bytes, the name's 3, and 3 more to a multiple of 4.
        assert_eq!(&bytes[110..112], b"ab");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.contains("TRAILER!!!\0"));
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        let elf = |segment: u8| {
            let mut elf = vec![0; 120];
            elf[..5].copy_from_slice(b"\x7fELF\x02");
            (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, segment);
            elf
        };
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(3)));
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b"\x7fELF\x02"));
    }
}
