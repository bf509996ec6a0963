//! One owner's directories, with an image and tier microvm, and a look at what machines leave.

use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axo_core::Policy;
use axo_image::{Reference, Silent, Store};
use axo_session::agent::Run;
use axo_session::agent::proto::Status;
use axo_session::{
    Session, SessionConfig, SessionError, SessionSpec, SessionTier, Sessions, Transport, admit,
};
use tempfile::TempDir;

/// The name of the image.
pub(crate) const IMAGE: &str = "axo.test/busybox:1";
/// Where distributions put a busybox that needs no libraries.
const BUSYBOX: &str = "/usr/bin/busybox";
/// Where the tier is set up.
const MACHINES: &str = "AXO_MACHINES";

pub(crate) struct Site {
    home: TempDir,
    pub(crate) config: SessionConfig,
}

pub(crate) fn site() -> Site {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap();
    let config = config_under(&path);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&config.data)
        .unwrap();
    let machines = std::env::var_os(MACHINES).map(PathBuf::from);
    let machines = machines.unwrap_or_else(|| panic!("set {MACHINES} to a data directory"));
    run(
        "cp",
        &[Path::new("-a"), &machines.join("microvm"), &config.data],
    );
    let root = path.join("rootfs");
    root_file_system(&root);
    let name: Reference = IMAGE.parse().unwrap();
    let store = Store::open(&config.images).unwrap();
    store.import(&root, Some(&name), &Silent).unwrap();
    Site { home, config }
}

/// The configuration of the owner in this directory.
pub(crate) fn config_under(home: &Path) -> SessionConfig {
    SessionConfig {
        data: home.join("data"),
        runtime: home.join("run"),
        images: home.join("images"),
        transport: Transport::here(),
        policy: Policy::default(),
    }
}

/// Makes the session that `change` makes of the default in a machine.
pub(crate) async fn create(
    config: &SessionConfig,
    sessions: &Sessions,
    change: impl FnOnce(&mut SessionSpec),
) -> Result<Session, SessionError> {
    let mut spec = SessionSpec::new(IMAGE);
    spec.tier = SessionTier::MicroVm;
    spec.limits.memory = axo_core::Size::from_mib(192);
    spec.limits.scratch = axo_core::Size::from_mib(32);
    spec.limits.cpu = axo_core::CpuShare::ONE;
    change(&mut spec);
    let admitted = admit(spec, &config.policy)?;
    sessions.create(&admitted, Arc::new(Silent)).await
}

impl Site {
    /// A directory for the test's own files.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().canonicalize().unwrap()
    }

    /// The sessions, as a process that starts now opens them.
    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::open(self.config.clone()).unwrap()
    }

    /// Nothing of a machine is left, nor of a session's sockets.
    pub(crate) fn is_clean(&self) {
        assert_eq!(machines(), Vec::<u32>::new());
        assert_eq!(cgroups(), Vec::<PathBuf>::new());
        let owners = std::fs::read_dir(self.config.runtime.join("sessions")).unwrap();
        let sockets = owners.flat_map(|owner| std::fs::read_dir(owner.unwrap().path()).unwrap());
        assert_eq!(sockets.count(), 0);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed leaves the next one no machine.
        for runner in named("axo-runner") {
            kill(runner);
        }
        for cgroup in cgroups() {
            // The kernel keeps it busy for a moment.
            while cgroup.exists() && std::fs::remove_dir(&cgroup).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

fn root_file_system(root: &Path) {
    for directory in ["bin", "etc", "root", "tmp", "var/tmp"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).expect("apt-get install busybox-static");
    for applet in run(BUSYBOX, &[Path::new("--list")]).lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
}

/// What a script in the session writes, whose status has to be zero.
pub(crate) async fn sh(session: &Session, script: &str) -> String {
    let (status, text) = try_sh(session, script).await;
    assert_eq!(status, Status::Code(0), "{script}: {text}");
    text
}

pub(crate) async fn try_sh(session: &Session, script: &str) -> (Status, String) {
    let mut command = Run::new(["/bin/sh", "-c", script]);
    command.environment = vec![(b"PATH".to_vec(), b"/bin".to_vec())];
    let finished = session.output(command, 1 << 20).await.unwrap();
    let text = [finished.stdout, finished.stderr].concat();
    (
        finished.exited.status,
        String::from_utf8_lossy(&text).trim().to_owned(),
    )
}

/// The processes that are Firecrackers.
pub(crate) fn machines() -> Vec<u32> {
    named("firecracker")
}

/// The processes of this name.
pub(crate) fn named(name: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let called = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            program.to_string_lossy().contains(name) || called.trim() == name
        })
        .collect()
}

/// The cgroups of machines of sessions.
fn cgroups() -> Vec<PathBuf> {
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match entry
                .file_name()
                .to_string_lossy()
                .starts_with("axocoatl-vm-ses-")
            {
                true => found.push(entry.path()),
                false => todo.push(entry.path()),
            }
        }
    }
    found
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[expect(clippy::disallowed_methods, reason = "the test's own tools")]
fn run(program: &str, arguments: &[&Path]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
