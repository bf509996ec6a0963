//! Sessions whose agents are reached over `podman exec`, as on macOS and Windows. Here it is this
//! host's podman, and the kernel that runs the container is ours to look at.

use std::path::Path;
use std::time::Duration;

use axo_core::Policy;
use axo_session::agent::proto::{Position, ProcessId, Size, State as ProcessState, Status};
use axo_session::agent::{AgentError, Copied, CopyLimits, Output, ProcessEvent, Run};
use axo_session::{Session, SessionError, Sessions, State, Transport};

use crate::site::{
    KEEP, Site, eventually, hear, looked_at, noise, podman, remove_container, says, shell,
    site_with,
};

fn site() -> Site {
    let mut site = site_with(Policy::default());
    site.config.transport = Transport::Bridge;
    site
}

/// Processes of this host that are bridges to a session.
fn bridges(session: &Session) -> Vec<u32> {
    let container = session.record().id.container();
    let is_one = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&&b"exec"[..]) && words.contains(&container.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_one(*pid))
        .collect()
}

async fn none_is_left(session: &Session) {
    eventually("the bridges are gone from the host", async || {
        bridges(session).is_empty()
    })
    .await;
    // The one that asks sees itself.
    let count = "ps -o args | grep -c '[b]ridge --socket'";
    eventually("the bridges are gone from the session", async || {
        says(session, count).await == "1\n"
    })
    .await;
}

async fn end(output: &mut Output) -> Status {
    loop {
        match output.next().await.unwrap() {
            Some(ProcessEvent::Exited(exited)) => return exited.status,
            Some(_) => {}
            None => panic!("it has no end"),
        }
    }
}

#[tokio::test]
async fn over_a_bridge_a_command_has_its_streams_and_status() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    assert_eq!(session.record().transport, Transport::Bridge);
    let finished = shell(
        &session,
        r"printf 'a\377\000\020\021b'; printf '\376' >&2; exit 3",
    )
    .await;
    assert_eq!(finished.exited.status, Status::Code(3));
    assert_eq!(finished.stdout, b"a\xff\0\x10\x11b");
    assert_eq!(finished.stderr, b"\xfe");
    let absent = session.output(Run::new(["no-such-program"]), KEEP).await;
    assert!(
        matches!(&absent, Err(SessionError::Agent(AgentError::Failed(_)))),
        "{absent:?}"
    );

    // More than every buffer on the way holds, of bytes with which podman's users leave a container.
    let mut sent = noise(3_000_000);
    sent.extend([0x10, 0x11].repeat(200_000));
    let process = session.run(Run::new(["cat"]).with_input()).await.unwrap();
    let (mut output, mut input) = process.split();
    let mut heard = Vec::new();
    let listening = async {
        loop {
            match output.next().await.unwrap() {
                Some(ProcessEvent::Output(bytes)) => heard.extend_from_slice(bytes),
                Some(ProcessEvent::Exited(exited)) => break exited.status,
                other => panic!("{other:?}"),
            }
        }
    };
    let writing = async {
        input.write(&sent).await.unwrap();
        for byte in [0x10, 0x11, 0x10, 0x11] {
            input.write(&[byte]).await.unwrap();
        }
        input.end().await.unwrap();
    };
    let (status, ()) = tokio::join!(listening, writing);
    sent.extend([0x10, 0x11, 0x10, 0x11]);
    assert_eq!(status, Status::Code(0));
    assert!(heard == sent, "{} bytes of {}", heard.len(), sent.len());
    drop((output, input));
    none_is_left(&session).await;

    session.stop(Duration::from_secs(2)).await.unwrap();
    assert_eq!(session.record().state, State::Stopped);
    assert!(site.containers().is_empty());
}

#[tokio::test]
async fn over_a_bridge_there_are_terminals_logs_and_copies() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let terminal = Run::new(["/bin/sh"]).in_terminal(size);
    let terminal = session.run(terminal).await.unwrap();
    let (mut output, mut input) = terminal.split();
    input
        .write(b"stty size; echo one-$((40+2))\n")
        .await
        .unwrap();
    let said = hear(&mut output, "one-42\r\n").await;
    assert!(said.contains("24 80"), "{said}");
    let other = Size {
        rows: 33,
        columns: 99,
    };
    input.resize(other).await.unwrap();
    input
        .write(b"stty size; echo two-$((40+2))\n")
        .await
        .unwrap();
    let said = hear(&mut output, "two-42\r\n").await;
    assert!(said.contains("33 99"), "{said}");
    input.write(b"exit 7\n").await.unwrap();
    assert_eq!(end(&mut output).await, Status::Code(7));

    let count = "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.1; done";
    let run = Run::new(["/bin/sh", "-c", count]).in_background();
    let background = session.run(run).await.unwrap().id();
    let logs = session.attach(background, Position::Start, false).await;
    let (mut logs, _input) = logs.unwrap().split();
    let said = hear(&mut logs, "line 19\n").await;
    let lines: String = (0..20).map(|line| format!("line {line}\n")).collect();
    assert_eq!(said, lines);
    assert_eq!(end(&mut logs).await, Status::Code(0));

    let from = site.path().join("from");
    std::fs::create_dir_all(from.join("deep")).unwrap();
    std::fs::write(from.join("deep/large"), noise(2_000_000)).unwrap();
    std::fs::write(from.join("empty"), "").unwrap();
    let files = session.files("/tmp").unwrap();
    let mut unheard = |_: &Copied| ();
    let went = files.copy_in(&from, Path::new("there"), &mut unheard);
    let went = went.await.unwrap();
    let back = site.path().join("back");
    let limits = CopyLimits::default();
    let came = files.copy_out(Path::new("there"), &back, limits, &mut unheard);
    assert_eq!(came.await.unwrap(), went);
    assert!(std::fs::read(back.join("deep/large")).unwrap() == noise(2_000_000));
    assert!(back.join("empty").is_file());
}

/// An attached process ends with its connection, and the connection with whoever has it.
#[tokio::test]
async fn a_bridge_ends_when_nobody_uses_it() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let ended = async |process: ProcessId| {
        eventually("the process has ended", async || {
            let all = session.processes().await.unwrap();
            let one = all.iter().find(|info| info.process == process);
            one.is_none_or(|info| info.state != ProcessState::Running)
        })
        .await;
    };
    let silent = session.run(Run::new(["sleep", "600"])).await.unwrap();
    let id = silent.id();
    assert!(!bridges(&session).is_empty());
    drop(silent);
    ended(id).await;
    none_is_left(&session).await;

    // One that writes what nobody reads, and one that does not take its input.
    let flood = "while :; do echo flood; done";
    for command in [flood, "exec sleep 600"] {
        let run = Run::new(["/bin/sh", "-c", command]).with_input();
        let process = session.run(run).await.unwrap();
        let id = process.id();
        let (output, mut input) = process.split();
        input.write(&noise(20_000)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop((output, input));
        ended(id).await;
        none_is_left(&session).await;
    }
}

#[tokio::test]
async fn a_session_over_a_bridge_is_adopted_and_lost_like_any() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let gone = site.session(&sessions).await;
    let id = session.record().id;
    says(&session, "echo kept > /tmp/kept").await;
    drop((session, sessions));

    // Whatever new sessions are made with.
    let mut config = site.config.clone();
    config.transport = Transport::Socket;
    let session = Sessions::open(config).unwrap().find(id.as_str()).await;
    let session = session.unwrap();
    assert_eq!(session.record().transport, Transport::Bridge);
    assert_eq!(says(&session, "cat /tmp/kept").await, "kept\n");

    remove_container(&gone);
    assert_eq!(looked_at(&gone).await.0, State::Lost);

    // What runs in it may take the agent's socket away: it is then lost, and nothing of it stays.
    says(&session, "rm /axocoatl/run/agent.sock").await;
    let (state, why) = looked_at(&session).await;
    assert_eq!(state, State::Lost);
    assert!(why.contains("does not answer"), "{why}");
    assert!(site.containers().is_empty());
}

/// A bridge is a process of the session: it has no more rights than any, and where there is no room
/// for one the session is not taken for lost.
#[tokio::test]
async fn a_bridge_has_the_rights_and_limits_of_its_session() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |spec| spec.limits.pids = 40)
        .await
        .unwrap();
    let who = "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q '^/axocoatl/agent bridge'; \
               then cat $p/status; fi; done";
    let status = says(&session, who).await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000000000\n")),
            "{status}"
        );
    }
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    assert!(status.contains("Seccomp:\t2\n"), "{status}");

    let fill = "while :; do sleep 600 & done";
    let run = Run::new(["/bin/sh", "-c", fill]).in_background();
    session.run(run).await.unwrap();
    eventually("there is no room for a bridge", async || {
        session.processes().await.is_err()
    })
    .await;
    assert_eq!(looked_at(&session).await.0, State::Ready);
    session.stop(Duration::from_secs(1)).await.unwrap();
    assert_eq!(session.record().state, State::Stopped);
    assert!(site.containers().is_empty());
    let listed = podman(&["ps", "--all", "--quiet"]);
    assert!(listed.status.success());
}
