//! Our side: sessions of one owner, in an image of one program.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axocoatl_isolation::images::{Reference, Silent, Store};
use axocoatl_isolation::sessions::{Session, SessionSpec, Sessions, admit, open};
use axocoatl_isolation::{Places, Policy};

const IMAGE: &str = "localhost/bench:1";
/// Where distributions put a busybox that needs no libraries.
const BUSYBOX: &str = "/usr/bin/busybox";
/// As many commands at once as are measured take so many processes and descriptors.
const PIDS: u32 = 4096;
const FILES: u32 = 16_384;

/// Sessions, and where they are.
pub(crate) struct Site {
    sessions: Sessions,
    policy: Policy,
    directory: tempfile::TempDir,
}

/// The processes of an idle session.
pub(crate) struct Processes {
    pub(crate) agent: u32,
    /// `conmon`.
    pub(crate) monitor: u32,
}

impl Site {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let home = directory.path().canonicalize()?;
        let root = home.join("root");
        for point in ["bin", "tmp", "var/tmp", "run", "proc", "sys", "dev", "etc"] {
            fs::create_dir_all(root.join(point))?;
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).context("apt-get install busybox-static")?;
        for name in ["true", "sh"] {
            symlink("busybox", root.join("bin").join(name))?;
        }
        let places = Places::under(&home.join("home"));
        let name: Reference = IMAGE.parse()?;
        Store::open(&places.images())?.import(&root, Some(&name), &Silent)?;
        let mut policy = Policy::default();
        policy.ceilings.files = Some(FILES);
        policy.ceilings.pids = Some(PIDS);
        let sessions = open(places, policy.clone())?;
        Ok(Self {
            sessions,
            policy,
            directory,
        })
    }

    /// What the command finds them by.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(crate) async fn session(&self) -> anyhow::Result<Session> {
        let mut spec = SessionSpec::new(IMAGE);
        spec.limits.pids = PIDS;
        spec.limits.files = FILES;
        let admitted = admit(spec, &self.policy)?;
        Ok(self.sessions.create(&admitted, Arc::new(Silent)).await?)
    }

    pub(crate) async fn remove(&self, session: &Session) -> anyhow::Result<()> {
        Ok(self.sessions.remove(session).await?)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let owner = self.home().join("data/sessions/owner");
        let Ok(owner) = fs::read_to_string(owner) else {
            return;
        };
        // Whatever went wrong before.
        let filter = format!("label=axocoatl.owner={owner}");
        let listed = Command::new("podman")
            .args(["ps", "--all", "--quiet", "--filter", &filter])
            .output();
        for id in listed
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
            .lines()
        {
            let _ = Command::new("podman")
                .args(["rm", "--force", "--time", "0", id])
                .output();
        }
    }
}

/// Asks podman.
pub(crate) fn processes(session: &Session) -> anyhow::Result<Processes> {
    let output = Command::new("podman")
        .args(["container", "inspect", "--format"])
        .arg("{{.State.Pid}} {{.State.ConmonPid}}")
        .arg(session.record().id.container())
        .output()?;
    ensure!(output.status.success(), "podman inspect: {output:?}");
    let text = String::from_utf8(output.stdout)?;
    let (agent, monitor) = text.trim().split_once(' ').context("podman inspect")?;
    Ok(Processes {
        agent: agent.parse()?,
        monitor: monitor.parse()?,
    })
}
