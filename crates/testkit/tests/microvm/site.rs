//! An engine of its own in a directory of its own, whose one tool is a shell script.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axocoatl_isolation::{
    AuditLog, CallOptions, Compiler, Engine, Places, Policy, Requirement, Run, Size, Tier,
    ToolCall, ToolName, ToolSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::answer;

/// Says what a clone could share with others, and how old it is: random numbers, two kinds; what the
/// kernel calls its boot; when the tool's process began, in the clock of the machine; when its `/dev`
/// was made, by the time of day; and which time of day it is. Waits as long as it is told to.
const SCRIPT: &str = r#"
b=/bin/busybox
$b sleep "$($b tr -dc 0-9)"
printf '{"random":"%s","uuid":"%s","boot_id":"%s","began":%s,"made":%s,"now":%s}' \
    "$($b head -c 16 /dev/urandom | $b od -An -tx1 | $b tr -d ' \n')" \
    "$($b cat /proc/sys/kernel/random/uuid)" "$($b cat /proc/sys/kernel/random/boot_id)" \
    "$($b cut -d ' ' -f 22 /proc/$$/stat)" "$($b stat -c %Z /dev)" "$($b date +%s)"
"#;

/// A call's time, on a processor that is emulated.
const WALL: Duration = Duration::from_secs(60);
/// The tool's, so that little is stored.
const MEMORY_MIB: u64 = 64;

/// A directory with a bundle, and what an engine makes.
pub(crate) struct Site {
    home: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bundle = home.path().join("bundle");
        let rootfs = bundle.join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "tmp", "axocoatl"] {
            std::fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))
            .expect("/bin/busybox: apt-get install busybox-static");
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 65534, "gid": 65534}, "cwd": "/",
                "args": ["/bin/busybox", "sh", "-c", SCRIPT],
            },
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        Self { home }
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn engine(&self) -> Engine {
        engine(self.path())
    }
}

/// Where the engine in `home` has its data.
pub(crate) fn data(home: &Path) -> PathBuf {
    Places::under(home).data
}

/// An engine in `home`, whose one tool is the bundle there, on this tier and no other.
pub(crate) fn engine(home: &Path) -> Engine {
    let machines = std::env::var_os("AXO_MACHINES").expect("AXO_MACHINES names a data directory");
    let bundle = home.join("bundle").canonicalize().unwrap();
    let mut spec = ToolSpec::new(tool(), Requirement::ContainerImage, Run::Bundle(bundle));
    spec.min_tier = Some(Tier::MicroVm);
    spec.limits.memory = Some(Size::from_mib(MEMORY_MIB));
    spec.limits.wall = Some(WALL);
    Engine::builder()
        .places(Places::under(home))
        .machines(machines.into())
        .policy(Policy::default())
        .tool_roots(Vec::new())
        .audit(AuditLog::off())
        .compiler(Compiler::InProcess)
        .tool(spec)
        .build()
        .unwrap()
}

pub(crate) fn tool() -> ToolName {
    ToolName::parse("script").unwrap()
}

/// A call that takes so many seconds; with other limits than the tool's own where `memory` says so.
pub(crate) fn call(seconds: u64, memory: Option<Size>) -> ToolCall {
    let mut options = CallOptions::default();
    options.limits.memory = memory;
    ToolCall::new(tool(), json!(seconds)).with_options(options)
}

/// What the tool answers.
pub(crate) async fn ask(engine: &Engine, memory: Option<Size>) -> Value {
    answer(engine.call(call(0, memory)).await)
}
