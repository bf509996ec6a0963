//! One owner's directories, an image, and what removes every container they led to.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axo_core::Policy;
use axo_image::{Reference, Silent, Store};
use axo_session::agent::proto::Status;
use axo_session::agent::{ProcessEvent, Run};
use axo_session::{
    Finished, Session, SessionConfig, SessionError, SessionSpec, Sessions, State, Transport, admit,
};
use tempfile::TempDir;

/// The name of the image.
pub(crate) const IMAGE: &str = "axo.test/busybox:1";
/// Where distributions put a busybox that needs no libraries.
const BUSYBOX: &str = "/usr/bin/busybox";
/// What is kept of a process's output.
pub(crate) const KEEP: usize = 16 << 20;

/// One owner.
pub(crate) struct Site {
    home: TempDir,
    pub(crate) config: SessionConfig,
}

/// An owner with the image, and a policy that grants nothing.
pub(crate) fn site() -> Site {
    site_with(Policy::default())
}

/// An owner with the image and this policy.
pub(crate) fn site_with(policy: Policy) -> Site {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().canonicalize().unwrap();
    let config = config_under(&path, policy);
    let root = path.join("rootfs");
    root_file_system(&root);
    let name: Reference = IMAGE.parse().unwrap();
    let store = Store::open(&config.images).unwrap();
    store.import(&root, Some(&name), &Silent).unwrap();
    Site { home, config }
}

/// The configuration of the owner in this directory.
pub(crate) fn config_under(home: &Path, policy: Policy) -> SessionConfig {
    SessionConfig {
        data: home.join("data"),
        runtime: home.join("run"),
        images: home.join("images"),
        transport: Transport::here(),
        policy,
    }
}

/// A session with defaults, of an owner whose directories somebody else removes.
pub(crate) async fn create_in(config: &SessionConfig, sessions: &Sessions) -> Session {
    let admitted = admit(SessionSpec::new(IMAGE), &config.policy).unwrap();
    sessions.create(&admitted, Arc::new(Silent)).await.unwrap()
}

fn root_file_system(root: &Path) {
    for directory in [
        "bin", "etc", "mnt", "root", "tmp", "var/tmp", "proc", "sys", "dev",
    ] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).expect("apt-get install busybox-static");
    let applets = run(BUSYBOX, &["--list"]);
    for applet in String::from_utf8(applets.stdout).unwrap().lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
}

impl Site {
    /// A directory for the test's own files.
    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    /// The sessions, as a process that starts now opens them.
    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::open(self.config.clone()).unwrap()
    }

    /// Makes the session that `change` makes of the default.
    pub(crate) async fn create(
        &self,
        sessions: &Sessions,
        change: impl FnOnce(&mut SessionSpec),
    ) -> Result<Session, SessionError> {
        let mut spec = SessionSpec::new(IMAGE);
        change(&mut spec);
        let admitted = admit(spec, &self.config.policy)?;
        sessions.create(&admitted, Arc::new(Silent)).await
    }

    /// A session with defaults.
    pub(crate) async fn session(&self, sessions: &Sessions) -> Session {
        self.create(sessions, |_| ()).await.unwrap()
    }

    /// Names of the containers of this owner, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        let Ok(owner) = std::fs::read_to_string(self.config.data.join("sessions/owner")) else {
            return Vec::new();
        };
        let filter = format!("label=axocoatl.owner={owner}");
        let listed = podman(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        assert!(listed.status.success(), "{listed:?}");
        let names = String::from_utf8(listed.stdout).unwrap();
        names.lines().map(str::to_owned).collect()
    }

    /// Names of the directories of sockets, whoever's they are.
    pub(crate) fn socket_directories(&self) -> Vec<String> {
        let owners = std::fs::read_dir(self.config.runtime.join("sessions")).unwrap();
        owners
            .flat_map(|owner| std::fs::read_dir(owner.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in self.containers() {
            podman(&["rm", "--force", "--time", "0", &name]);
        }
    }
}

/// What podman says of a session's container.
pub(crate) fn inspect(session: &Session, format: &str) -> String {
    let name = session.record().id.container();
    let output = podman(&["container", "inspect", "--format", format, &name]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Removes a session's container as somebody else would.
pub(crate) fn remove_container(session: &Session) {
    let name = session.record().id.container();
    let output = podman(&["rm", "--force", "--time", "0", &name]);
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn podman(arguments: &[&str]) -> Output {
    run("podman", arguments)
}

#[expect(
    clippy::disallowed_methods,
    reason = "podman is asked behind the library's back, and busybox for its applets"
)]
fn run(program: &str, arguments: &[&str]) -> Output {
    std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install busybox-static podman"))
}

/// Runs a shell command to its end.
pub(crate) async fn shell(session: &Session, command: &str) -> Finished {
    let run = Run::new(["/bin/sh", "-c", command]);
    session.output(run, KEEP).await.unwrap()
}

/// Standard output of a shell command that has to succeed.
pub(crate) async fn says(session: &Session, command: &str) -> String {
    let finished = shell(session, command).await;
    let text = String::from_utf8(finished.stdout).unwrap();
    let error = String::from_utf8_lossy(&finished.stderr);
    assert_eq!(
        finished.exited.status,
        Status::Code(0),
        "{command}: {text}{error}"
    );
    text
}

/// Standard error of a shell command that has to fail by itself.
pub(crate) async fn fails(session: &Session, command: &str) -> String {
    let finished = shell(session, command).await;
    let error = String::from_utf8_lossy(&finished.stderr).into_owned();
    let failed = matches!(finished.exited.status, Status::Code(code) if code != 0);
    assert!(failed, "{command}: {:?} {error}", finished.exited.status);
    error
}

/// Hears a process until what it wrote has `end` in it.
pub(crate) async fn hear(process: &mut axo_session::agent::Output, end: &str) -> String {
    let mut heard = Vec::new();
    let listening = async {
        while !String::from_utf8_lossy(&heard).contains(end) {
            match process.next().await.unwrap() {
                Some(ProcessEvent::Output(bytes) | ProcessEvent::Error(bytes)) => {
                    heard.extend_from_slice(bytes);
                }
                other => panic!("{other:?} before {end:?}"),
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), listening).await;
    let text = String::from_utf8_lossy(&heard).into_owned();
    assert!(in_time.is_ok(), "no {end:?} in {text:?}");
    text
}

/// Waits for something that comes without notice.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The session's state and why, after a look at it.
pub(crate) async fn looked_at(session: &Session) -> (State, String) {
    session.look().await.unwrap();
    let record = session.record();
    (record.state, record.why.unwrap_or_default())
}

/// Bytes of every kind, the same each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}
