//! An engine of its own in a directory of its own, with the probe as its tool.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use axocoatl_isolation::{
    AuditLog, CallOptions, Compiler, Engine, EnvGrant, Mount, MountMode, MountRule, Places, Policy,
    Requirement, Run, ToolCall, ToolName, ToolSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use axo_core::chain;

pub(crate) use crate::common::{Dice, answer, block_on};

/// The variable that tells the processes of a tool from all others of the host.
pub(crate) const MARK: &str = "AXO_MARK";

/// Tells a host process what its tool is called.
pub(crate) const TOOL_NAME: &str = "AXO_TEST_TOOL";

/// A directory with a bundle of the probe.
pub(crate) struct Site {
    home: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let site = Self { home };
        let rootfs = site.rootfs();
        for name in ["proc", "sys", "dev", "tmp", "axocoatl", "data"] {
            std::fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        std::fs::copy(probe(), rootfs.join("probe")).unwrap();
        site.configure(&["/probe"], &[]);
        site
    }

    /// Writes `config.json`.
    pub(crate) fn configure(&self, args: &[&str], env: &[&str]) {
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 65534, "gid": 65534}, "cwd": "/", "args": args, "env": env,
            },
        });
        std::fs::write(self.bundle().join("config.json"), config.to_string()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.path().join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub(crate) fn engine(&self, warm: usize) -> Engine {
        engine(self.path(), warm, 32, None)
    }
}

/// An engine in `home`, whose one tool is the bundle there. It may grant the mark, and `mount`.
pub(crate) fn engine(home: &Path, warm: usize, concurrency: u32, mount: Option<&Path>) -> Engine {
    let mut policy = Policy::default();
    policy.grants.env.push(MARK.to_owned());
    policy.grants.mounts.extend(mount.map(|source| MountRule {
        source: source.to_owned(),
        mode: MountMode::ReadWrite,
    }));
    let bundle = home.join("bundle").canonicalize().unwrap();
    let spec = ToolSpec::new(tool(), Requirement::ContainerImage, Run::Bundle(bundle));
    Engine::builder()
        .places(Places::under(home))
        .policy(policy)
        .tool_roots(Vec::new())
        .audit(AuditLog::off())
        .compiler(Compiler::InProcess)
        .concurrency(concurrency)
        .warm_containers(warm)
        .tool(spec)
        .build()
        .unwrap()
}

/// The name of the tool, by which the sandboxes of this program, and of the host processes that it
/// starts, are told from those of others.
pub(crate) fn tool() -> ToolName {
    static NAME: OnceLock<ToolName> = OnceLock::new();
    let name = || {
        let given = std::env::var(TOOL_NAME);
        let name = given.unwrap_or_else(|_| format!("probe{}", std::process::id()));
        ToolName::parse(&name).unwrap()
    };
    NAME.get_or_init(name).clone()
}

/// A call of the probe: `input` is its operation, `mark` goes into its environment.
pub(crate) fn call(input: Value, mark: Option<&str>, wall: Duration) -> ToolCall {
    let mut options = CallOptions::default();
    options.limits.wall = Some(wall);
    let grant = mark.map(|mark| EnvGrant::parse(&format!("{MARK}={mark}")).unwrap());
    options.grants.env.extend(grant);
    ToolCall::new(tool(), input).with_options(options)
}

/// One with a mount.
pub(crate) fn call_with_mount(input: Value, source: &Path, target: &str) -> ToolCall {
    let mut options = CallOptions::default();
    let mount = Mount::new(source.canonicalize().unwrap(), target, MountMode::ReadWrite).unwrap();
    options.grants.mounts.push(mount);
    ToolCall::new(tool(), input).with_options(options)
}

/// Runs the probe's operation, which answers.
pub(crate) async fn ask(engine: &Engine, input: Value) -> Value {
    let outcome = engine.call(call(input, None, MINUTE)).await;
    answer(outcome)
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The probe as a static program, built once.
#[expect(clippy::disallowed_methods, reason = "the probe is compiled from C")]
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oci-probe");
        let status = std::process::Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/probe/build.sh"))
            .arg("native")
            .arg(&program)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "the probe was not built: apt-get install gcc"
        );
        program
    })
}
