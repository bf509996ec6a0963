//! The container of a session in a machine of its own, whose one program is the guest agent: what
//! confines a tool confines it, but that it stays, is spoken with, and may be let write and do more.

use std::path::Path;

use axo_core::{BoxError, EffectiveLimits, Size};
use axo_runner::{Bind, Cgroup, CgroupDirectory, Launch, Prepare, RootAccess, Scratch, Stage};
use serde_json::{Value, json};

use crate::host::{UserHost, v2_limits};
use crate::seccomp;
use crate::spec::{MASKED, READ_ONLY, kernels_mounts};
use crate::tool;

/// Where the agent's directory is in a session, read-only, and the agent in it.
const AGENT_DIRECTORY: &str = "/axocoatl";
const AGENT: &str = "/axocoatl/agent";
/// File systems in memory that everybody may write to, each as large as the scratch space.
const SCRATCH: [&str; 4] = ["/tmp", "/run", "/var/tmp", "/dev/shm"];
/// A file of a scratch file system for so many bytes of it, and at least so many.
const BYTES_A_FILE: u64 = 4 << 10;
const LEAST_FILES: u64 = 1 << 13;
/// Room for an input document, which a session has none of, in bytes.
const INPUT_BYTES: u64 = 4 << 10;

/// A session to be contained.
#[derive(Clone, Copy, Debug)]
pub struct ContainedSession<'a> {
    /// What its host is called.
    pub hostname: &'a str,
    /// Whether its root file system can be written. What is written is in scratch space of its own.
    pub writable: bool,
    /// What its root may do: names of capabilities, without `CAP_`.
    pub capabilities: &'a [&'a str],
    /// A directory to work in, a scratch file system of its own: absolute.
    pub directory: Option<&'a str>,
    /// Its limits. `disk` is the size of each scratch file system.
    pub limits: &'a EffectiveLimits,
    /// Arguments of the agent beside the descriptor that it listens on.
    pub arguments: &'a [String],
}

impl ContainedSession<'_> {
    /// The container to be made, called `id`, beneath the cgroup `parent` of its machine. Its one bind
    /// is the directory of the agent.
    ///
    /// # Errors
    /// If no seccomp filter can be made.
    pub fn prepare(&self, id: &str, parent: &Path) -> Result<Prepare, BoxError> {
        let limits = self.limits;
        let targets = SCRATCH.into_iter().chain(self.directory);
        Ok(Prepare {
            id: id.to_owned(),
            config: self.config(&Stage::default()).to_string(),
            seccomp: seccomp::session_filters()?,
            users: UserHost::of_a_machine().users((0, 0), false),
            cgroup: Cgroup::Directories(vec![CgroupDirectory {
                path: parent.join(id),
                // What does not fit ends, and not the agent with it.
                settings: v2_limits(limits),
            }]),
            scratch: Scratch {
                bytes: limits.disk.bytes(),
                inodes: files(limits.disk),
            },
            root: match self.writable {
                true => RootAccess::Scratch,
                false => RootAccess::ReadOnly,
            },
            listener: true,
            loopback: true,
            input_bytes: INPUT_BYTES,
            files: limits.files,
            mount_points: tool::mount_points(targets.filter(|target| *target != "/dev/shm")),
            binds: vec![Bind { read_only: true }],
        })
    }

    /// What is executed.
    #[must_use]
    pub fn launch(&self) -> Launch {
        let listener = Prepare::LISTENER.to_string();
        let first = [AGENT, "serve", "--fd", &listener].map(str::to_owned);
        Launch {
            program: AGENT.to_owned(),
            args: first
                .into_iter()
                .chain(self.arguments.iter().cloned())
                .collect(),
            env: Vec::new(),
        }
    }

    fn config(&self, stage: &Stage) -> Value {
        let namespaces =
            ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
        let capabilities: Vec<String> = self
            .capabilities
            .iter()
            .map(|name| format!("CAP_{name}"))
            .collect();
        let none: [&str; 0] = [];
        json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname,
            "root": {"path": "rootfs", "readonly": !self.writable},
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": [AGENT],
                "env": [],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                    "inheritable": none, "ambient": none
                },
            },
            "mounts": self.mounts(stage),
            "linux": {
                "namespaces": namespaces,
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            },
        })
    }

    fn mounts(&self, stage: &Stage) -> Vec<Value> {
        let memory = |target: &str, mode: &str| {
            let disk = self.limits.disk;
            let (mode, size, files) = (
                format!("mode={mode}"),
                format!("size={}", disk.bytes()),
                format!("nr_inodes={}", files(disk)),
            );
            json!({
                "destination": target, "type": "tmpfs", "source": "tmpfs",
                "options": ["rw", "nosuid", "nodev", mode, size, files],
            })
        };
        let mut all = kernels_mounts().to_vec();
        all.push(json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        }));
        // Its own, from which the agent says what the session takes. Not of type `cgroup`: to make that,
        // libcontainer looks at the cgroups of who makes the container, which sees none.
        all.push(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        }));
        all.extend(SCRATCH.map(|target| memory(target, "1777")));
        all.push(json!({
            "destination": AGENT_DIRECTORY, "type": "bind", "source": stage.mount(0),
            "options": ["bind", "nosuid", "nodev", "ro"],
        }));
        // Last: it may be in one of the others.
        all.extend(self.directory.map(|directory| memory(directory, "0755")));
        all
    }
}

/// How many files a scratch file system of this size may have.
fn files(disk: Size) -> u64 {
    (disk.bytes() / BYTES_A_FILE).max(LEAST_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(writable: bool, capabilities: &[&str]) -> (Prepare, Value) {
        let session = ContainedSession {
            hostname: "host",
            writable,
            capabilities,
            directory: Some("/tmp/work"),
            limits: &EffectiveLimits::DEFAULT,
            arguments: &["--total".into(), "60".into()],
        };
        let prepare = session.prepare("id", Path::new("/cgroups")).unwrap();
        let config = serde_json::from_str(&prepare.config).unwrap();
        (prepare, config)
    }

    #[test]
    fn a_locked_session_writes_no_root_and_has_no_capability() {
        let (prepare, config) = prepared(false, &[]);
        assert_eq!(prepare.root, RootAccess::ReadOnly);
        assert_eq!(config["root"]["readonly"], true);
        for set in [
            "bounding",
            "effective",
            "permitted",
            "inheritable",
            "ambient",
        ] {
            assert_eq!(config["process"]["capabilities"][set], json!([]), "{set}");
        }
        assert!(prepare.mount_points.contains(&"/tmp/work".to_owned()));
    }

    #[test]
    fn a_session_for_development_has_what_it_is_given_and_no_more() {
        let (prepare, config) = prepared(true, &["CHOWN"]);
        assert_eq!(prepare.root, RootAccess::Scratch);
        assert_eq!(config["root"]["readonly"], false);
        assert_eq!(
            config["process"]["capabilities"]["bounding"],
            json!(["CAP_CHOWN"])
        );
        assert_eq!(config["process"]["capabilities"]["ambient"], json!([]));
        assert_eq!(config["process"]["noNewPrivileges"], true);
    }

    #[test]
    fn it_sees_what_it_takes_and_cannot_change_it() {
        let (_, config) = prepared(true, &["CHOWN"]);
        let mounts = config["mounts"].as_array().unwrap();
        let cgroups: Vec<&Value> = mounts
            .iter()
            .filter(|mount| mount["type"].as_str().unwrap().starts_with("cgroup"))
            .collect();
        assert_eq!(cgroups.len(), 1);
        assert_eq!(cgroups[0]["type"], "cgroup2");
        assert!(
            cgroups[0]["options"]
                .as_array()
                .unwrap()
                .contains(&json!("ro"))
        );
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.contains(&json!({"type": "cgroup"})));
    }

    #[test]
    fn its_directory_is_mounted_after_everything_that_it_could_be_in() {
        let (_, config) = prepared(false, &[]);
        let mounts = config["mounts"].as_array().unwrap();
        assert_eq!(mounts.last().unwrap()["destination"], "/tmp/work");
        for mount in mounts.iter().filter(|mount| mount["type"] == "tmpfs") {
            let bounded = |option: &Value| option.as_str().unwrap().starts_with("size=");
            assert!(
                mount["options"].as_array().unwrap().iter().any(bounded),
                "{mount}"
            );
        }
    }
}
