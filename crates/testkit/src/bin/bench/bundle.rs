//! The work: one bundle, which every contestant runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use axocoatl_isolation::EffectiveLimits;
use serde_json::{Value, json};

/// The tool: what it reads is in the document that it prints.
const SOURCE: &str = r#"
#include <stdio.h>
#include <unistd.h>

int main(void) {
    static char input[65536];
    size_t length = 0;
    ssize_t got;
    while (length < sizeof input && (got = read(0, input + length, sizeof input - length)) > 0)
        length += (size_t)got;
    printf("{\"input\":%.*s}\n", (int)length, input);
    return length == 0;
}
"#;
/// Where it is in the root file system.
pub(crate) const PROGRAM: &str = "/echo";
const MANIFEST: &str = r#"
name = "echo"
requires = "container-image"

[run]
bundle = "bundle"
"#;
/// First id on the host of the bundle's user namespace: nobody's.
const FIRST_ID: u32 = 0x7000_0000;
/// Ids of it.
const IDS: u32 = 65_536;
/// Period of the processor limit in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// The bundle, and a place for what contestants leave.
pub(crate) struct Bundle {
    home: PathBuf,
    _directory: tempfile::TempDir,
}

impl Bundle {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let bundle = Self {
            // A link on the way would be refused.
            home: directory.path().canonicalize()?,
            _directory: directory,
        };
        // The root of a user namespace, who is nobody here, has to come through.
        for open in [bundle.home.clone(), bundle.root()] {
            fs::create_dir_all(&open)?;
            fs::set_permissions(&open, fs::Permissions::from_mode(0o755))?;
        }
        // What is mounted on: nobody may make it later.
        for point in ["proc", "sys", "dev", "tmp", "axocoatl"] {
            fs::create_dir(bundle.root().join(point))?;
        }
        bundle.compile()?;
        fs::write(bundle.path().join("config.json"), config().to_string())?;
        fs::write(bundle.tool().join("tool.toml"), MANIFEST)?;
        fs::write(bundle.input_file(), input().to_string())?;
        Ok(bundle)
    }

    fn compile(&self) -> anyhow::Result<()> {
        let source = self.home.join("echo.c");
        fs::write(&source, SOURCE)?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
        let status = Command::new(&compiler)
            .args(["-std=c11", "-O2", "-static", "-s", "-o"])
            .arg(self.root().join(PROGRAM.trim_start_matches('/')))
            .arg(&source)
            .status()
            .with_context(|| format!("starting {compiler}: apt-get install gcc libc6-dev"))?;
        ensure!(status.success(), "{compiler} did not compile the tool");
        Ok(())
    }

    /// A directory for everything that is made. Every user may search it.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The directory with the manifest.
    pub(crate) fn tool(&self) -> PathBuf {
        self.home.join("tool")
    }

    /// The directory with `config.json`.
    pub(crate) fn path(&self) -> PathBuf {
        self.tool().join("bundle")
    }

    /// The root file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A file with the input.
    pub(crate) fn input_file(&self) -> PathBuf {
        self.home.join("input.json")
    }
}

pub(crate) fn input() -> Value {
    json!({"text": "to be or not to be"})
}

/// Whether `printed` is what the tool answers.
pub(crate) fn check(printed: &[u8]) -> anyhow::Result<()> {
    let output: Value = serde_json::from_slice(printed).context("it did not print JSON")?;
    ensure!(output == json!({"input": input()}), "it printed {output}");
    Ok(())
}

/// What `runc spec` writes, changed so that peers make what we make of any bundle: no terminal, the
/// same namespaces, mounts and limits, and no capability. A call of ours takes only the command of it.
fn config() -> Value {
    let limits = EffectiveLimits::DEFAULT;
    let namespaces = ["user", "pid", "network", "ipc", "uts", "mount", "cgroup"]
        .map(|kind| json!({"type": kind}));
    let ids = json!([{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]);
    let tmpfs = |target: &str, options: &[&str]| {
        let options = [&["nosuid", "nodev"], options].concat();
        json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [PROGRAM],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": limits.files, "soft": limits.files}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=64k"],
            },
            tmpfs("/dev/shm", &["noexec", "mode=1777", "size=64m"]),
            tmpfs("/tmp", &["mode=1777", "size=64m"]),
        ],
        "linux": {
            // Runs follow each other, so one cgroup does; and it is known what to remove.
            "cgroupsPath": format!("/axo-bench-{}", std::process::id()),
            "uidMappings": ids.clone(),
            "gidMappings": ids,
            "namespaces": namespaces,
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": limits.memory.bytes()},
                "pids": {"limit": limits.pids},
                "cpu": {"quota": CPU_PERIOD, "period": CPU_PERIOD},
            },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}
