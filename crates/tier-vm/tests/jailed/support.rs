//! A machine made of the stand-in, and a look at what the host has of it.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axo_core::{EffectiveLimits, Size};
use axo_tier_oci::CgroupDriver;
use axo_tier_oci::supervise::{CgroupHost, LeftBehind, PREFIX};
use axo_tier_vm::machine::{Guest, Machine, MachineConfig, MachineError};
use tempfile::TempDir;

/// Where the jailer is, beside Firecracker.
const PROGRAMS: &str = "AXO_FIRECRACKER_BIN";

/// The jailer's program.
fn jailer() -> PathBuf {
    let directory = std::env::var_os(PROGRAMS).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/firecracker"),
        PathBuf::from,
    );
    let path = directory.join("jailer");
    assert!(
        path.exists(),
        "there is no jailer at {}: cargo xtask setup, or set {PROGRAMS} to a directory with firecracker and jailer",
        path.display()
    );
    path
}

/// The stand-in, built when it has changed.
pub(crate) fn stand_in() -> &'static Path {
    const SOURCE: &str = include_str!("../stand_in/firecracker.rs");
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        SOURCE.hash(&mut hasher);
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = home.join(format!("firecracker-{:x}", hasher.finish()));
        if path.exists() {
            return path;
        }
        // Tests are processes of their own, and the first that is done names it: the kernel mounts no
        // file that was removed, as one would be that is replaced.
        let building = tempfile::tempdir_in(home).unwrap();
        let source = building.path().join("main.rs");
        let program = building.path().join("firecracker");
        std::fs::write(&source, SOURCE).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the stand-in is compiled")]
        let status = Command::new("rustc")
            .args(["--edition", "2024", "-O"])
            .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
            .arg("-o")
            .args([&program, &source])
            .status()
            .unwrap();
        assert!(status.success(), "the stand-in does not compile");
        let _ = std::fs::hard_link(&program, &path);
        assert!(path.exists());
        path
    })
}

/// What a machine is made from.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) config: MachineConfig,
    home: TempDir,
}

impl Made {
    pub(crate) fn new() -> Self {
        Self::limited(Size::from_mib(64))
    }

    pub(crate) fn limited(memory: Size) -> Self {
        let cgroups = CgroupHost::examine(CgroupDriver::Direct).unwrap();
        cgroups.enable().unwrap();
        let id = format!("{PREFIX}vm-{}", uuid::Uuid::new_v4());
        let limits = EffectiveLimits {
            memory,
            ..EffectiveLimits::DEFAULT
        };
        let config = MachineConfig {
            id: id.clone(),
            firecracker: File::open(stand_in()).unwrap(),
            jailer: File::open(jailer()).unwrap(),
            disks: Vec::new(),
            cgroup: cgroups.of_machine(&id, &limits),
            left_behind: LeftBehind::cgroup(cgroups.clone(), id.clone(), Arc::default()),
        };
        Self {
            id,
            config,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// A file that everybody may read.
    pub(crate) fn file(&self, name: &str, text: &str) -> File {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        File::open(path).unwrap()
    }

    /// A guest that makes the stand-in behave like this.
    pub(crate) fn guest(&self, mode: &str) -> Guest {
        Guest {
            vcpus: 1,
            memory_mib: 128,
            kernel: self.file("kernel", mode),
            initramfs: self.file("initramfs", "an initramfs"),
            command_line: "console=ttyS0".into(),
        }
    }
}

/// A machine that behaves like this, and what tells whether something is left of it.
pub(crate) async fn boot(mode: &str) -> Result<(Machine, Traces), (MachineError, Traces)> {
    boot_of(Made::new(), mode).await
}

pub(crate) async fn boot_of(
    made: Made,
    mode: &str,
) -> Result<(Machine, Traces), (MachineError, Traces)> {
    let traces = Traces::of(made.id.clone());
    let guest = made.guest(mode);
    match Machine::boot(made.config, &guest, None).await {
        Ok(machine) => Ok((machine, traces)),
        Err(error) => Err((error, traces)),
    }
}

/// Waits until the machine has written this to its console.
pub(crate) async fn says(machine: &Machine, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let console = String::from_utf8_lossy(&machine.console()).into_owned();
        if console.contains(line) {
            return;
        }
        assert!(Instant::now() < deadline, "{line}:\n{console}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The error of a machine that cannot be made.
pub(crate) async fn fails(mode: &str) -> MachineError {
    let Err((error, traces)) = boot(mode).await else {
        panic!("{mode}: it boots");
    };
    traces.vanish();
    error
}

/// What the host has of a machine.
pub(crate) struct Traces {
    id: String,
}

impl Traces {
    pub(crate) fn of(id: String) -> Self {
        Self { id }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The cgroups of the machine.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
        let mut found = Vec::new();
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name() == self.id.as_str() {
                    found.push(entry.path());
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(entry.path());
                }
            }
        }
        found
    }

    /// The processes that have its name among their arguments: jailer, Firecracker and children.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let arguments = std::fs::read(format!("/proc/{pid}/cmdline"));
                arguments.is_ok_and(|text| String::from_utf8_lossy(&text).contains(&self.id))
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Firecracker, the guard that started it, and the runner that started that.
    pub(crate) fn line(&self) -> [u32; 3] {
        let [firecracker] = self.processes()[..] else {
            panic!("one process is Firecracker: {:?}", self.processes());
        };
        let guard = parent(firecracker);
        [firecracker, guard, parent(guard)]
    }

    /// Waits until nothing is left of it, for so long.
    pub(crate) fn vanish(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = (self.processes(), self.cgroups(), self.mounts());
            if left.0.is_empty() && left.1.is_empty() && left.2.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The host's mounts that name it.
    fn mounts(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|line| line.contains(&self.id));
        ours.map(str::to_owned).collect()
    }
}

fn parent(pid: u32) -> u32 {
    field(pid, "PPid:").parse().unwrap()
}

/// A field of `/proc/PID/status`.
pub(crate) fn field(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether the process is there and has not ended.
pub(crate) fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// How many descriptors we have.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_descriptor_more_is_counted() {
    let before = descriptors();
    let file = File::open("/").unwrap();
    assert!(file.as_raw_fd() > 2 && descriptors() == before + 1);
}
