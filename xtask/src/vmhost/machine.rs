//! QEMU's part.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context as _, Result};
use bytesize::ByteSize;

use crate::shell::Shell;

use super::kernel::Kernel;
use super::streams;

/// A kernel that panics ends the machine at once.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet";
/// Where KVM runs a guest in it, QEMU (7.2) now and then loses an interrupt that comes at that moment,
/// though the APIC has it, until the next one comes. With the one-shot timer of a kernel without ticks no
/// other may come.
const TICK: &str = " nohz=off highres=off";

pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) initramfs: &'a Path,
    /// Where the sockets are. QEMU works here.
    pub(super) directory: &'a Path,
    pub(super) console: &'a Path,
    pub(super) results: &'a Path,
    pub(super) layer: Option<&'a Path>,
    pub(super) scratch: Option<&'a Path>,
    pub(super) memory: u32,
    pub(super) cpus: u32,
    pub(super) tick: bool,
}

/// Ends with this.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        let status = self.0.try_wait().context("waiting for QEMU")?;
        Ok(status.is_some())
    }

    /// How often its threads have gone to sleep and been taken from a processor. What stays the same has
    /// done nothing in between.
    pub(super) fn switches(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id()));
        let statuses = tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        statuses.map(|status| switches_of(&status)).sum()
    }
}

/// Both counts of a `/proc/PID/task/TID/status` (proc_pid_status(5)).
fn switches_of(status: &str) -> u64 {
    let count = |line: &str| {
        let (name, count) = line.split_once(':')?;
        let counts = name.ends_with("_ctxt_switches");
        counts.then(|| count.trim().parse::<u64>().ok())?
    };
    status.lines().filter_map(count).sum()
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Has to be called by the main thread: QEMU is killed when the thread that started it ends.
    pub(super) fn start(&self, shell: &Shell) -> Result<Running> {
        let log = std::fs::File::create(self.console)
            .with_context(|| format!("making {}", self.console.display()))?;
        let child = shell
            .command("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(self.options())
            .directory(self.directory)
            .start(log)?;
        Ok(Running(child))
    }

    fn options(&self) -> Vec<OsString> {
        let mut options = words(
            "-nodefaults -no-user-config -no-reboot -display none -machine q35 \
             -accel tcg,thread=multi -cpu max,+svm -device virtio-rng-pci",
        );
        options.extend(words(&format!("-smp {} -m {}", self.cpus, self.memory)));
        options.extend(["-kernel".into(), self.kernel.image.clone().into()]);
        options.extend(["-initrd".into(), self.initramfs.into()]);
        let tick = if self.tick { TICK } else { "" };
        options.extend([
            "-append".into(),
            format!("{KERNEL_COMMAND_LINE}{tick}").into(),
        ]);

        options.push("-chardev".into());
        options.push(with_path("file,id=console,append=on,path=", self.console));
        options.extend(words("-serial chardev:console -device virtio-serial-pci"));
        for (index, name) in streams::NAMES.iter().enumerate() {
            let (socket, port) = (streams::socket(name), index + 1);
            options.extend(words(&format!(
                "-chardev socket,id={name},path={socket} \
                 -device virtserialport,chardev={name},name=axo.{name},nr={port}"
            )));
        }

        // The host's file systems have inode numbers of their own, which have to be told apart.
        let share = "local,security_model=none,multidevs=remap";
        options.push("-virtfs".into());
        options.push(format!("{share},readonly=on,mount_tag=host,path=/").into());
        if let Some(layer) = self.layer {
            options.push("-virtfs".into());
            options.push(with_path(
                &format!("{share},readonly=on,mount_tag=layer,path="),
                layer,
            ));
        }
        options.push("-virtfs".into());
        options.push(with_path(
            &format!("{share},mount_tag=results,path="),
            self.results,
        ));
        if let Some(scratch) = self.scratch {
            options.push("-drive".into());
            options.push(with_path(
                "if=virtio,format=raw,cache=unsafe,discard=unmap,file=",
                scratch,
            ));
        }
        options
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// An option of QEMU that ends with a path. In those a comma is written twice.
fn with_path(option: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    let mut bytes = OsStr::new(option).as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.extend(std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(bytes)
}

/// An empty disk, of no blocks yet. None if it shall have no size.
pub(super) fn scratch(shell: &Shell, directory: &Path, size: ByteSize) -> Result<Option<PathBuf>> {
    if size.as_u64() == 0 {
        return Ok(None);
    }
    let path = directory.join("scratch");
    std::fs::File::create(&path)
        .and_then(|file| file.set_len(size.as_u64()))
        .with_context(|| format!("making {}", path.display()))?;
    shell
        .command("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0"])
        // Without a journal: nobody mounts it a second time.
        .args(["-O", "^has_journal", "-E", "root_owner=0:0"])
        .arg(&path)
        .text()
        .with_context(|| format!("--scratch {size}"))?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_both_kinds_of_them() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches_of(status), 42);
    }

    #[test]
    fn a_comma_in_a_path_does_not_begin_an_option() {
        assert_eq!(with_path("path=", Path::new("/a,b")), "path=/a,,b");
    }
}
