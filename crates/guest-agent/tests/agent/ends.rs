//! How an agent ends, and what it ends with it; and being PID 1.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use axo_guest_proto::{Hello, Message as _, Reply, Request, Start, Status};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Agent, Client, PROGRAM, command, detached, exists, is_clean, runs, shell, until,
};

fn terminate(agent: &Agent) {
    let pid = Pid::from_raw(agent.child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

#[test]
fn a_shutdown_ends_everything() {
    let mut agent = Agent::new();
    let polite = agent.start(detached("exec sleep 1000"));
    let mut rude = agent.start(shell(
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ));
    rude.until_output("ready");
    let begun = Instant::now();
    agent.done(&Request::Shutdown { grace_millis: 300 });
    let rude_pid = rude.pid;
    assert_eq!(rude.finish().exited.status, Status::Signal(9));
    let (status, said) = agent.ended();
    assert!(is_clean(status), "{status}");
    assert_eq!(said, "axo-guest-agent: ended by its host\n");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(!runs(polite.pid) && !runs(rude_pid));
    assert!(!exists(&agent.socket()));
}

#[test]
fn a_signal_ends_it_as_well() {
    let mut agent = Agent::new();
    let process = agent.start(detached("exec sleep 1000"));
    terminate(&agent);
    let (status, said) = agent.ended();
    assert!(is_clean(status), "{status}");
    assert_eq!(said, "axo-guest-agent: ended by SIGTERM\n");
    assert!(!runs(process.pid));
}

#[test]
fn an_agent_that_nobody_speaks_to_ends() {
    let mut agent = Agent::with(&[], &["--idle", "1"]);
    let begun = Instant::now();
    let left = agent.start(detached("exec sleep 1000"));
    // A connection keeps it, however long.
    let client = agent.start(shell("sleep 1.5"));
    client.finish();
    assert!(agent.child.try_wait().unwrap().is_none());
    let (status, said) = agent.ended();
    assert!(is_clean(status), "{status}");
    assert_eq!(said, "axo-guest-agent: idle for 1 s\n");
    assert!(begun.elapsed() >= Duration::from_millis(2500));
    assert!(!runs(left.pid));
}

#[test]
fn an_agent_ends_at_its_age() {
    let mut agent = Agent::with(&[], &["--total", "1"]);
    let client = agent.start(shell("sleep 1000"));
    assert_eq!(client.finish().exited.status, Status::Signal(15));
    let (status, said) = agent.ended();
    assert!(is_clean(status), "{status}");
    assert_eq!(said, "axo-guest-agent: running for 1 s\n");
}

#[test]
fn orphans_are_reaped_by_a_first_process() {
    let agent = Agent::with(
        &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
        &[],
    );
    assert_eq!(agent.run("echo $PPID").out(), "1");
    // Each leaves a child that ends later, with nobody but PID 1 to wait for it.
    for _ in 0..20 {
        agent.run("(setsid sleep 0.05 &)");
    }
    let zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' [ZX] '";
    until(|| agent.run(zombies).out() == "0" && agent.run("pgrep -c sleep").out() == "0");
    // What left its process group ends with the agent.
    let mut client = agent.start(Start {
        follow: true,
        ..detached("trap '' TERM; setsid sleep 1000 & echo $!; sleep 1000")
    });
    client.until_output("\n");
    agent.done(&Request::Shutdown { grace_millis: 100 });
    let Reply::Exited(exited) = client.gather().3 else {
        panic!()
    };
    assert_eq!(exited.status, Status::Signal(9));
    let mut agent = agent;
    let (status, said) = agent.ended();
    assert!(is_clean(status), "{status} {said}");
}

#[test]
fn a_socket_that_was_left_is_replaced_and_ours_alone() {
    let mut agent = Agent::new();
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert!(exists(&agent.socket()));
    let socket = agent.socket();
    let mut next = command(PROGRAM)
        .args(["serve", "--socket"])
        .arg(&socket)
        .spawn()
        .unwrap();
    until(|| UnixStream::connect(&socket).is_ok());
    assert_eq!(
        socket.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(agent.run("exit 2").exited.status, Status::Code(2));
    assert_eq!(
        std::fs::read_dir(agent.directory.path()).unwrap().count(),
        1
    );
    kill_process(
        Pid::from_raw(next.id().try_into().unwrap()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert!(is_clean(next.wait().unwrap()));
    // And it says if there cannot be one.
    let output = command(PROGRAM)
        .args(["serve", "--socket", "/no/such/socket"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/no/such/socket")
    );
}

#[test]
fn a_socket_can_be_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // Inherited, for a moment by whatever else is started; agents close what is not theirs.
    fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    let mut child = command(PROGRAM)
        .args(["serve", "--idle", "1", "--fd"])
        .arg(listener.as_raw_fd().to_string())
        .spawn()
        .unwrap();
    drop(listener);
    let mut start = shell("ls /proc/self/fd; umask");
    start.follow = true;
    let mut client = Client::new(
        UnixStream::connect(&path).unwrap(),
        &Request::Start(Box::new(start)),
    );
    client.started();
    assert_eq!(client.finish().out(), "0\n1\n2\n3\n0022");
    assert!(is_clean(child.wait().unwrap()));
    // It is not ours to remove.
    assert!(exists(&path));
    for wrong in ["99", "3000000000"] {
        let output = command(PROGRAM)
            .args(["serve", "--fd", wrong])
            .output()
            .unwrap();
        assert!(!output.status.success());
    }
}

#[test]
fn a_bridge_carries_a_connection() {
    let agent = Agent::new();
    let mut bridge = command(PROGRAM)
        .args(["bridge", "--socket"])
        .arg(agent.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut frames = Hello::new("test").to_frame().unwrap();
    frames.extend(
        Request::Start(Box::new(shell("echo through")))
            .to_frame()
            .unwrap(),
    );
    // Held open: the agent closes.
    let mut stdin = bridge.stdin.take().unwrap();
    stdin.write_all(&frames).unwrap();
    let mut all = Vec::new();
    bridge.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert!(all.windows(8).any(|w| w == b"through\n"));
    assert!(is_clean(bridge.wait().unwrap()));
    drop(stdin);

    // A host that goes away ends what it started.
    let mut bridge = command(PROGRAM)
        .args(["bridge", "--socket"])
        .arg(agent.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let marker = agent.directory.path().join("pid");
    let script = format!(
        "printf early; echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        marker.display()
    );
    let mut frames = Hello::new("test").to_frame().unwrap();
    frames.extend(Request::Start(Box::new(shell(&script))).to_frame().unwrap());
    let mut stdin = bridge.stdin.take().unwrap();
    stdin.write_all(&frames).unwrap();
    // What is written without an end of line comes at once, too.
    let mut heard = Vec::new();
    let mut stdout = bridge.stdout.take().unwrap();
    while !heard.windows(5).any(|w| w == b"early") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    until(|| exists(&marker));
    let pid: i32 = std::fs::read_to_string(&marker)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(runs(pid));
    drop(stdin);
    until(|| !runs(pid));
    bridge.wait().unwrap();
}

#[test]
fn a_probe_says_its_nonce() {
    let output = command(PROGRAM).args(["probe", "a1b2"]).output().unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"a1b2\n"[..], Some(0))
    );
    let output = command(PROGRAM).arg("--version").output().unwrap();
    assert_eq!(
        output.stdout,
        format!("{}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
    assert_eq!(
        command(PROGRAM).arg("what").output().unwrap().status.code(),
        Some(2)
    );
}
