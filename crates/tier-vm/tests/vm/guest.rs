//! A machine whose guest is the test's own program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axo_core::{EffectiveLimits, Size};
use axo_tier_oci::CgroupDriver;
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, PREFIX};
use axo_tier_vm::COMMAND_LINE;
use axo_tier_vm::machine::{Guest, Machine, MachineConfig};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// An emulated processor takes several times as long as a real one.
pub(crate) const LONG: Duration = Duration::from_secs(120);
pub(crate) const MEMORY_MIB: u32 = 128;
/// What Firecracker takes besides.
const OVERHEAD_MIB: u64 = 64;

fn artifact(name: &str) -> PathBuf {
    let directory = std::env::var_os("AXO_MICROVM").expect("AXO_MICROVM names what is installed");
    Path::new(&directory).join(name)
}

/// The initramfs, built once a process.
fn initramfs() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let mut files = vec![(
            "init".to_owned(),
            0o100_755,
            std::fs::read(program()).unwrap(),
        )];
        files.push(("modules".to_owned(), 0o040_755, Vec::new()));
        let modules = std::fs::read_dir(artifact("kernel/modules")).unwrap();
        for module in modules.map(|entry| entry.unwrap()) {
            let name = module.file_name().to_string_lossy().into_owned();
            let bytes = std::fs::read(module.path()).unwrap();
            files.push((format!("modules/{name}"), 0o100_644, bytes));
        }
        let path = home.path().join("initramfs");
        std::fs::write(&path, archive(&files)).unwrap();
        (home, path)
    });
    path
}

/// The guest's program. Where there is no compiler, `AXO_GUEST_INIT` names it.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("AXO_GUEST_INIT") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-init");
    #[expect(clippy::disallowed_methods, reason = "the guest's program is compiled")]
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-O"])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&path)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/stand_in/init.rs"
        ))
        .status()
        .unwrap();
    assert!(status.success(), "the guest's program does not compile");
    path
}

/// A cpio archive in the format that the kernel takes ("newc").
fn archive(files: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let end = ("TRAILER!!!".to_owned(), 0, Vec::new());
    for (number, (name, mode, bytes)) in files.iter().chain([&end]).enumerate() {
        let fields = [
            number + 1,
            *mode as usize,
            0,
            0,
            1,
            0,
            bytes.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        let fields: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        archive.extend_from_slice(format!("070701{fields}{name}\0").as_bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

pub(crate) fn guest() -> Guest {
    Guest {
        vcpus: 1,
        memory_mib: MEMORY_MIB,
        kernel: File::open(artifact("kernel/vmlinux")).unwrap(),
        initramfs: File::open(initramfs()).unwrap(),
        command_line: COMMAND_LINE.to_owned(),
    }
}

/// A machine with a disk that has these bytes first, its name, and what its files lie in.
pub(crate) fn config(disk: &[u8]) -> (MachineConfig, String, TempDir) {
    let cgroups = CgroupHost::examine(CgroupDriver::Direct).unwrap();
    cgroups.enable().unwrap();
    let id = format!("{PREFIX}vm-{}", uuid::Uuid::new_v4());
    let limits = EffectiveLimits {
        memory: Size::from_mib(u64::from(MEMORY_MIB) + OVERHEAD_MIB),
        ..EffectiveLimits::DEFAULT
    };
    let mut bytes = disk.to_vec();
    bytes.resize(1 << 20, 0);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("disk");
    std::fs::write(&path, bytes).unwrap();
    let config = MachineConfig {
        id: id.clone(),
        firecracker: File::open(artifact("bin/firecracker")).unwrap(),
        jailer: File::open(artifact("bin/jailer")).unwrap(),
        disks: vec![File::open(path).unwrap()],
        cgroup: cgroups.of_machine(&id, &limits),
        left_behind: LeftBehind::cgroup(cgroups, id.clone(), Arc::default()),
    };
    (config, id, home)
}

/// What the guest answers to a line; nothing if the connection breaks.
pub(crate) async fn ask(stream: &mut BufReader<UnixStream>, line: &str) -> String {
    let mut answer = String::new();
    let asked = stream.write_all(format!("{line}\n").as_bytes()).await;
    if asked.is_ok() {
        let _ = stream.read_line(&mut answer).await;
    }
    answer.trim_end().to_owned()
}

pub(crate) async fn connected(machine: &Machine) -> BufReader<UnixStream> {
    match machine.connect(5000, LONG).await {
        Ok(stream) => BufReader::new(stream),
        Err(error) => panic!("{}", axo_core::chain(&error)),
    }
}

/// The cgroups of a machine.
pub(crate) fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name() == id {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
            }
        }
    }
    found
}

/// The processes that have its name among their arguments: the jailer, and then Firecracker.
pub(crate) fn processes(id: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(id))
        })
        .collect()
}

/// Waits until nothing is left of a machine.
pub(crate) async fn vanishes(id: &str) {
    let deadline = Instant::now() + LONG;
    while !processes(id).is_empty() || !cgroups(id).is_empty() {
        let left = (processes(id), cgroups(id));
        assert!(Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A field of `/proc/PID/status`.
pub(crate) fn field(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}
