//! A machine without the machine: an agent that has a runner and an image, and a client of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use axo_guest_proto::{Kind, PrepareTool, Reply, Request, RunTool, ToolEnded};
use axo_runner::{
    Bind, Cgroup, Exited, IdMap, IdRange, Launch, Prepare, RootAccess, Scratch, Stage, Users,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Agent, Client};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// An agent that can prepare a tool, and what the tool is made of.
pub(crate) struct Machine {
    pub(crate) agent: Agent,
    pub(crate) id: String,
    pub(crate) site: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(more: &[&str]) -> Self {
        let site = site();
        let path = |name| {
            site.path()
                .join(name)
                .into_os_string()
                .into_string()
                .unwrap()
        };
        let (runner, image) = (path("runner"), path("image"));
        let words = [&["--runner", &runner, "--image", &image], more].concat();
        let agent = Agent::with(&[], &words);
        let id = format!("axo-agent-test-{}", agent.child.id());
        Self { agent, id, site }
    }

    /// Our runner has its container's identity nowhere but in its processes' memory, so what belongs
    /// to the tool is told by who started it.
    pub(crate) fn runners(&self) -> Vec<i32> {
        let of_agent = format!("/proc/{0}/task/{0}/children", self.agent.child.id());
        let children = fs::read_to_string(of_agent).unwrap_or_default();
        children
            .split(' ')
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// Has a script in the place of the runner, whose standard input is our socket.
    pub(crate) fn replace_runner(&self, script: &str) {
        let runner = self.site.path().join("runner");
        fs::write(runner, format!("#!/bin/sh\n{script}\n")).unwrap();
    }

    pub(crate) fn prepare(&self) {
        self.agent.done(&self.prepare_request());
    }

    pub(crate) fn prepare_request(&self) -> Request {
        request(&prepare(&self.id, &[]), false)
    }

    /// Runs a script in the prepared container.
    pub(crate) fn run(&self, script: &str, input: &[u8], limits: (u64, Duration)) -> Run {
        let mut client = self.agent.ask(&run_request(script, limits));
        give(&mut client, input);
        assert_eq!(client.reply(), Reply::ToolStarted);
        Run(client)
    }

    /// Runs it to its end, with limits that it does not come to.
    pub(crate) fn ran(&self, script: &str, input: &[u8]) -> Ran {
        self.run(script, input, (1 << 20, LONG)).finish()
    }
}

pub(crate) fn site() -> TempDir {
    assert!(
        rustix::process::geteuid().is_root(),
        "run this as root: a container by way of the agent is made by root"
    );
    let site = tempfile::tempdir().unwrap();
    let runner = site.path().join("runner");
    fs::write(&runner, axo_helpers::runner().bytes()).unwrap();
    fs::set_permissions(&runner, PermissionsExt::from_mode(0o755)).unwrap();
    let bin = site.path().join("image/bin");
    fs::create_dir_all(&bin).unwrap();
    // The container's users are nobody of the host's.
    for path in [site.path(), &site.path().join("image"), &bin] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap_or_else(|e| {
        panic!("/bin/busybox: {e}; install it: apt-get install busybox-static")
    });
    for applet in ["sh", "cat", "echo", "head", "sleep", "yes", "true"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    let files = site.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("own.txt"), "of its own").unwrap();
    site
}

/// A container like those of tier oci, but for its cgroup and seccomp filters, which are the
/// runner's own to test.
pub(crate) fn prepare(id: &str, binds: &[&str]) -> Prepare {
    const FIRST_ID: u32 = 0x7000_0000;
    let stage = Stage::default();
    let bind = |source: &Path, target: &str, access: &str| {
        json!({
            "destination": target, "type": "bind", "source": source,
            "options": ["bind", "nosuid", "nodev", access],
        })
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "mode=755", "size=64k"]}),
        bind(&stage.axocoatl(), "/axocoatl", "rw"),
        bind(&stage.tmp(), "/tmp", "rw"),
        bind(&stage.input_file(), "/axocoatl/input.json", "ro"),
    ];
    for (number, target) in binds.iter().enumerate() {
        mounts.push(bind(&stage.mount(number), target, "ro"));
    }
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    let none: [&str; 0] = [];
    let config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": 65534, "gid": 65534},
            "args": ["/bin/sh"], "env": [], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {"bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none},
        },
        "mounts": mounts,
        "linux": {"namespaces": namespaces},
    });
    let range = vec![IdRange {
        inside: 0,
        outside: FIRST_ID,
        count: 65_536,
    }];
    let points = ["/proc", "/dev", "/tmp", "/axocoatl"];
    Prepare {
        id: id.to_owned(),
        config: config.to_string(),
        seccomp: Vec::new(),
        users: Users {
            outer: None,
            newuidmap: None,
            newgidmap: None,
            inner: IdMap {
                users: range.clone(),
                groups: range,
            },
            tool: (65_534, 65_534),
        },
        cgroup: Cgroup::Directories(Vec::new()),
        scratch: Scratch {
            bytes: 16 << 20,
            inodes: 100,
        },
        root: RootAccess::ReadOnly,
        listener: false,
        loopback: false,
        input_bytes: 1 << 20,
        files: 64,
        mount_points: points.iter().chain(binds).map(|&p| p.to_owned()).collect(),
        binds: binds.iter().map(|_| Bind { read_only: true }).collect(),
    }
}

pub(crate) fn request(prepare: &Prepare, files: bool) -> Request {
    Request::PrepareTool(PrepareTool {
        prepare: serde_json::to_vec(prepare).unwrap(),
        files,
        ahead: b"/bin/sh".to_vec(),
    })
}

pub(crate) fn run_request(script: &str, (output_limit, wall): (u64, Duration)) -> Request {
    let launch = Launch {
        program: "/bin/sh".to_owned(),
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/bin".to_owned()],
    };
    Request::RunTool(RunTool {
        launch: serde_json::to_vec(&launch).unwrap(),
        output_limit,
        wall_millis: u64::try_from(wall.as_millis()).unwrap(),
    })
}

/// Sends the input, and that it is all.
pub(crate) fn give(client: &mut Client, input: &[u8]) {
    for chunk in input.chunks(64 << 10) {
        client.send(Kind::Input, chunk);
    }
    client.send(Kind::Input, b"");
}

/// A tool that runs.
pub(crate) struct Run(pub(crate) Client);

/// How it went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) ended: ToolEnded,
    pub(crate) exited: Exited,
    pub(crate) file: Vec<u8>,
}

impl Run {
    pub(crate) fn finish(self) -> Ran {
        let Self(mut client) = self;
        let (stdout, stderr, _, reply) = client.gather();
        let Reply::ToolEnded(ended) = reply else {
            panic!("{reply:?}")
        };
        let (file, _, _, reply) = client.gather();
        assert_eq!(reply, Reply::Done);
        assert!(client.is_closed());
        Ran {
            stdout,
            stderr,
            exited: serde_json::from_slice(&ended.exited).unwrap(),
            ended,
            file,
        }
    }
}
