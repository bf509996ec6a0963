//! A tool in a container, by way of the agent: the real runner, with a root file system of BusyBox.
//! Needs root, as in the machine that the agent is the first process of.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use axo_guest_proto::{
    Code, Kind, PrepareTool, Renew, Reply, Request, RunTool, Stopped, ToolEnded,
};
use axo_runner::{
    Bind, Cgroup, Exited, IdMap, IdRange, Launch, OutputFound, Prepare, Scratch, Stage, Status,
    Users,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Agent, Client, Frame, is_clean, until};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// An agent that can prepare a tool, and what the tool is made of.
struct Machine {
    agent: Agent,
    id: String,
    site: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
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
    fn runners(&self) -> Vec<i32> {
        let of_agent = format!("/proc/{0}/task/{0}/children", self.agent.child.id());
        let children = fs::read_to_string(of_agent).unwrap_or_default();
        children
            .split(' ')
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// Has a script in the place of the runner, whose standard input is our socket.
    fn replace_runner(&self, script: &str) {
        let runner = self.site.path().join("runner");
        fs::write(runner, format!("#!/bin/sh\n{script}\n")).unwrap();
    }

    fn prepare(&self) {
        self.agent.done(&self.prepare_request());
    }

    fn prepare_request(&self) -> Request {
        request(&prepare(&self.id, &[]), false)
    }

    /// Runs a script in the prepared container.
    fn run(&self, script: &str, input: &[u8], limits: (u64, Duration)) -> Run {
        let mut client = self.agent.ask(&run_request(script, limits));
        give(&mut client, input);
        assert_eq!(client.reply(), Reply::ToolStarted);
        Run(client)
    }

    /// Runs it to its end, with limits that it does not come to.
    fn ran(&self, script: &str, input: &[u8]) -> Ran {
        self.run(script, input, (1 << 20, LONG)).finish()
    }
}

fn site() -> TempDir {
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
fn prepare(id: &str, binds: &[&str]) -> Prepare {
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
        input_bytes: 1 << 20,
        files: 64,
        mount_points: points.iter().chain(binds).map(|&p| p.to_owned()).collect(),
        binds: binds.iter().map(|_| Bind { read_only: true }).collect(),
    }
}

fn request(prepare: &Prepare, files: bool) -> Request {
    Request::PrepareTool(PrepareTool {
        prepare: serde_json::to_vec(prepare).unwrap(),
        files,
    })
}

fn run_request(script: &str, (output_limit, wall): (u64, Duration)) -> Request {
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
fn give(client: &mut Client, input: &[u8]) {
    for chunk in input.chunks(64 << 10) {
        client.send(Kind::Input, chunk);
    }
    client.send(Kind::Input, b"");
}

/// A tool that runs.
struct Run(Client);

/// How it went.
#[derive(Debug)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ended: ToolEnded,
    exited: Exited,
    file: Vec<u8>,
}

impl Run {
    fn finish(self) -> Ran {
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

#[test]
fn a_tool_is_prepared_and_run() {
    let machine = Machine::new();
    machine.prepare();
    let script = "cat; echo log >&2; cat /axocoatl/input.json > /axocoatl/output.json; exit 3";
    let ran = machine.ran(script, b"{\"a\": 1}");
    assert_eq!(ran.stdout, b"{\"a\": 1}");
    assert_eq!(ran.stderr, b"log\n");
    assert_eq!(ran.exited.status, Status::Exited(3));
    assert_eq!(ran.exited.output, OutputFound::Opened);
    assert_eq!((ran.ended.stopped, ran.ended.output), (None, Some(8)));
    assert_eq!(ran.file, b"{\"a\": 1}");
    assert!(ran.ended.wall_micros > 0);
    // Nothing of it is left.
    until(|| machine.runners().is_empty());
}

#[test]
fn a_long_input_comes_through_and_one_that_does_not_fit_is_refused() {
    let machine = Machine::new();
    machine.prepare();
    let input = crate::support::noise(1 << 20);
    let ran = machine.run("cat", &input, (2 << 20, LONG)).finish();
    assert!(ran.stdout == input, "{} bytes", ran.stdout.len());

    let machine = Machine::new();
    machine.prepare();
    let mut client = machine.agent.ask(&run_request("cat", (1 << 20, LONG)));
    // More than the container has room for, and the stage beside it.
    let mut sent = 0;
    while sent < 8 << 20 {
        let frame = axo_guest_proto::encode(Kind::Input, &input[..1 << 16]).unwrap();
        if std::io::Write::write_all(&mut client.stream, &frame).is_err() {
            break;
        }
        sent += 1 << 16;
    }
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NoSpace, "{failure}");
    until(|| machine.runners().is_empty());
}

#[test]
fn a_flood_is_stopped_at_its_limit_and_what_came_before_is_kept() {
    for script in ["yes", "yes >&2", "trap '' TERM PIPE; yes; sleep 1000"] {
        let machine = Machine::new();
        machine.prepare();
        let ran = machine.run(script, b"", (100_001, LONG)).finish();
        assert_eq!(ran.ended.stopped, Some(Stopped::OutputLimit), "{script}");
        assert_eq!(ran.exited.status, Status::Signaled(9));
        let (kept, other) = match script {
            "yes >&2" => (ran.stderr, ran.stdout),
            _ => (ran.stdout, ran.stderr),
        };
        assert_eq!((kept.len(), other.len()), (100_001, 0), "{script}");
        assert!(kept.starts_with(b"y\ny\n"));
    }
}

#[test]
fn output_up_to_the_limit_is_no_flood_and_one_byte_more_is() {
    for (bytes, stopped) in [(5000, None), (5001, Some(Stopped::OutputLimit))] {
        let machine = Machine::new();
        machine.prepare();
        // Its end may be heard before its last bytes are.
        let script = format!("head -c {bytes} /dev/zero");
        let ran = machine.run(&script, b"", (5000, LONG)).finish();
        assert_eq!(ran.ended.stopped, stopped, "{bytes}");
        assert_eq!(ran.stdout.len(), 5000);
    }
}

#[test]
fn a_tool_is_killed_at_its_time_whoever_reads_what_it_writes() {
    let machine = Machine::new();
    machine.prepare();
    let begun = Instant::now();
    let wall = Duration::from_millis(600);
    let ran = machine
        .run("echo begun; sleep 1000", b"", (1 << 20, wall))
        .finish();
    assert!(begun.elapsed() >= wall);
    assert_eq!(ran.ended.stopped, Some(Stopped::TimedOut));
    assert_eq!(ran.exited.status, Status::Signaled(9));
    assert_eq!(ran.stdout, b"begun\n");
    assert!(ran.ended.wall_micros >= 600_000);

    // A host that takes nothing holds up what is told, not the end of the tool.
    let machine = Machine::new();
    machine.prepare();
    let run = machine.run("yes", b"", (64 << 20, wall));
    let runners = machine.runners();
    assert!(!runners.is_empty());
    until(|| {
        machine
            .runners()
            .iter()
            .all(|runner| children(*runner).is_empty())
    });
    let ran = run.finish();
    assert_eq!(ran.ended.stopped, Some(Stopped::TimedOut));
}

fn children(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

#[test]
fn an_output_file_above_the_limit_is_announced_and_not_sent() {
    for (bytes, sent) in [(5000, 5000), (5001, 0), (4 << 20, 0)] {
        let machine = Machine::new();
        machine.prepare();
        let script = format!("head -c {bytes} /dev/zero > /axocoatl/output.json");
        let ran = machine.run(&script, b"", (5000, LONG)).finish();
        assert_eq!(ran.ended.output, Some(bytes));
        assert_eq!(ran.file.len(), sent);
        assert_eq!(ran.ended.stopped, None);
    }
    let machine = Machine::new();
    machine.prepare();
    let ran = machine.ran("busybox ln -s /etc/passwd /axocoatl/output.json", b"");
    assert!(matches!(ran.exited.output, OutputFound::Refused(_)));
    assert_eq!((ran.ended.output, ran.file.len()), (None, 0));
}

#[test]
fn a_machine_has_one_tool() {
    let machine = Machine::new();
    let absent = machine.agent.fails(&run_request("true", (1, LONG)));
    assert_eq!(absent.code, Code::NoTool, "{absent}");
    machine.prepare();
    let second = machine.agent.fails(&machine.prepare_request());
    assert_eq!(second.code, Code::Exists, "{second}");
    assert_eq!(machine.ran("exit 0", b"").exited.status, Status::Exited(0));
    let again = machine.agent.fails(&run_request("true", (1, LONG)));
    assert_eq!(again.code, Code::NoTool, "{again}");
    let second = machine.agent.fails(&machine.prepare_request());
    assert_eq!(second.code, Code::Exists, "{second}");
}

#[test]
fn a_prepared_tool_needs_no_connection() {
    let machine = Machine::new();
    let mut client = machine.agent.ask(&machine.prepare_request());
    assert_eq!(client.reply(), Reply::Done);
    assert!(client.is_closed());
    // Others come and go.
    for _ in 0..20 {
        drop(machine.agent.stream());
        assert_eq!(
            machine.agent.run("exit 1").exited.status,
            crate::support::code(1)
        );
    }
    let runners = machine.runners();
    assert_eq!(runners.len(), 1);
    assert_eq!(machine.ran("echo here", b"").stdout, b"here\n");
}

#[test]
fn a_tool_ends_with_its_host() {
    // While it runs, while it is told, while it is given its input, and while it is prepared.
    let machine = Machine::new();
    machine.prepare();
    let mut run = machine.run("echo runs; sleep 1000", b"", (1 << 20, LONG));
    assert!(matches!(run.0.next(), Some(Frame::Output(_))));
    assert!(!machine.runners().is_empty());
    drop(run);
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    drop(machine.run("yes", b"", (u64::MAX, LONG)));
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    let mut client = machine.agent.ask(&run_request("cat", (1 << 20, LONG)));
    client.send(Kind::Input, b"half of");
    drop(client);
    until(|| machine.runners().is_empty());
    let gone = machine.agent.fails(&run_request("cat", (1 << 20, LONG)));
    assert_eq!(gone.code, Code::NoTool, "{gone}");

    // This one never answers.
    let machine = Machine::new();
    machine.replace_runner("exec cat");
    let client = machine.agent.ask(&machine.prepare_request());
    until(|| !machine.runners().is_empty());
    drop(client);
    until(|| machine.runners().is_empty());
}

#[test]
fn a_prepared_tool_ends_with_the_agent() {
    let mut machine = Machine::new();
    machine.prepare();
    let runners = machine.runners();
    assert_eq!(runners.len(), 1);
    machine
        .agent
        .done(&Request::Shutdown { grace_millis: 5000 });
    let begun = Instant::now();
    let (status, said) = machine.agent.ended();
    assert!(is_clean(status), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it was waited for"
    );
    assert!(!crate::support::runs(runners[0]));
}

#[test]
fn a_tool_has_its_own_files() {
    let site = site();
    let files = site
        .path()
        .join("files")
        .into_os_string()
        .into_string()
        .unwrap();
    let machine = Machine::with(&["--files", &files]);
    machine
        .agent
        .done(&request(&prepare(&machine.id, &["/tool"]), true));
    assert_eq!(machine.ran("cat /tool/own.txt", b"").stdout, b"of its own");

    let machine = Machine::new();
    let absent = machine
        .agent
        .fails(&request(&prepare(&machine.id, &["/tool"]), true));
    assert_eq!(absent.code, Code::NotFound, "{absent}");
}

#[test]
fn what_cannot_be_made_or_executed_is_told() {
    let machine = Machine::new();
    let mut impossible = prepare(&machine.id, &[]);
    impossible.config = "{}".to_owned();
    let failure = machine.agent.fails(&request(&impossible, false));
    assert_eq!(failure.code, Code::NoContainer, "{failure}");
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    let mut request = run_request("true", (1, LONG));
    if let Request::RunTool(run) = &mut request {
        let launch = Launch {
            program: "/bin/absent".to_owned(),
            args: vec!["absent".to_owned()],
            env: Vec::new(),
        };
        run.launch = serde_json::to_vec(&launch).unwrap();
    }
    let mut client = machine.agent.ask(&request);
    give(&mut client, b"");
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NotExecutable, "{failure}");
    assert!(failure.message.contains("/bin/absent"), "{failure}");

    // What is no message of the runner's costs no tool.
    let machine = Machine::new();
    let garbage = |prepare: &[u8]| {
        Request::PrepareTool(PrepareTool {
            prepare: prepare.to_vec(),
            files: false,
        })
    };
    for bytes in [&b""[..], b"{}", b"[[[[", &[b'['; 10_000], &[0xff; 64]] {
        let failure = machine.agent.fails(&garbage(bytes));
        assert_eq!(failure.code, Code::Invalid, "{failure}");
    }
    machine.prepare();
}

#[test]
fn a_runner_that_is_gone_is_told() {
    let machine = Machine::new();
    machine.prepare();
    let runner = rustix::process::Pid::from_raw(machine.runners()[0]).unwrap();
    rustix::process::kill_process(runner, rustix::process::Signal::KILL).unwrap();
    until(|| machine.runners().is_empty());
    let mut client = machine.agent.ask(&run_request("true", (1, LONG)));
    give(&mut client, b"");
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NoContainer, "{failure}");

    // One that answers what is no answer, or not to this.
    for answer in ["{", "{\"Exited\": {}}", "\"Started\""] {
        let machine = Machine::new();
        machine.replace_runner(&format!("printf '%s' '{answer}' >&0; exec cat"));
        let failure = machine.agent.fails(&machine.prepare_request());
        assert_eq!(failure.code, Code::NoContainer, "{failure}");
        until(|| machine.runners().is_empty());
    }

    // One that is not there at all.
    let machine = Machine::new();
    fs::remove_file(machine.site.path().join("runner")).unwrap();
    let failure = machine.agent.fails(&machine.prepare_request());
    assert_eq!(failure.code, Code::NoContainer, "{failure}");
}

#[test]
fn only_an_agent_that_has_a_runner_runs_tools_and_only_a_machine_is_renewed() {
    let agent = Agent::new();
    let failure = agent.fails(&request(&prepare("id", &[]), false));
    assert_eq!(failure.code, Code::Denied, "{failure}");
    let clock = || std::time::SystemTime::now();
    let before = clock();
    let failure = agent.fails(&Request::Renew(Renew {
        now_nanos: 1,
        seed: vec![0; Renew::SEED_BYTES],
    }));
    assert_eq!(failure.code, Code::Denied, "{failure}");
    assert!(clock() >= before);
}

#[test]
fn nobody_but_a_first_process_is_init() {
    let ended = crate::support::command(crate::support::PROGRAM)
        .arg("init")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("first process of a machine"), "{said}");
}
