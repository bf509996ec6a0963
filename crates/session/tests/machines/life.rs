//! The life of a session in a machine, to each of its ends.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_session::agent::proto::{Position, Size, Status};
use axo_session::agent::{Copied, CopyLimits, Output, ProcessEvent, Run};
use axo_session::{Network, Profile, RefusedReason, Session, SessionError, Sessions, State};

use crate::site::{config_under, create, kill, machines, named, sh, site, try_sh};

/// Where the maker that is killed has its sessions.
const HOME: &str = "AXO_TEST_HOME";

/// Waits until what a process writes has this in it.
async fn hear(output: &mut Output, text: &str) {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        match output.next().await.unwrap() {
            Some(ProcessEvent::Output(bytes) | ProcessEvent::Error(bytes)) => heard.extend(bytes),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&heard)),
        }
    }
}

/// Waits until it has come to an end.
async fn ends(session: &Session) -> State {
    loop {
        session.look().await.unwrap();
        let state = session.record().state;
        if state.is_end() {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn everything_of_sessions_works_over_vsock_and_for_the_next_process() {
    let site = site();
    let sessions = site.sessions();
    let session = create(&site.config, &sessions, |_| ()).await.unwrap();
    let id = session.record().id;
    assert_eq!(machines().len(), 1);
    // It is a container without rights, in which nothing of the host is.
    let seen = "id -u; hostname; grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status; \
                grep Seccomp: /proc/self/status";
    let seen = sh(&session, seen).await;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["0", &id.container()]);
    assert!(lines[2].ends_with("0000000000000000"), "{seen}");
    assert!(lines[3].ends_with('1') && lines[4].ends_with('2'), "{seen}");
    for forbidden in [
        "echo x > /etc/x",
        "mount -t tmpfs none /tmp",
        "echo x > /axocoatl/agent",
        "ls /image",
        "cat /dev/vda",
        "echo max > /sys/fs/cgroup/memory.max",
        "mkdir /sys/fs/cgroup/below",
    ] {
        let (status, said) = try_sh(&session, forbidden).await;
        assert_ne!(status, Status::Code(0), "{forbidden}: {said}");
    }
    let metrics = session.metrics().await.unwrap();
    let limit = 192 << 20;
    assert_eq!(metrics.memory_limit, Some(limit), "{metrics:?}");
    let in_use = |memory: Option<u64>| memory.is_some_and(|memory| memory > 0 && memory <= limit);
    assert!(in_use(metrics.memory), "{metrics:?}");
    assert!(metrics.tasks.is_some_and(|tasks| tasks > 0), "{metrics:?}");
    let interfaces = sh(&session, "ls /sys/class/net").await;
    assert_eq!(interfaces, "lo");
    // Its loopback works, and nothing is behind it.
    let script = "(echo over | nc -l -p 8080 &); for i in 1 2 3 4 5 6 7 8; do sleep 1; \
                  nc 127.0.0.1 8080 < /dev/null 2> /dev/null && exit; done; exit 1";
    assert_eq!(sh(&session, script).await, "over");
    let (status, _) = try_sh(&session, "nc -w 1 192.0.2.1 80 < /dev/null").await;
    assert_ne!(status, Status::Code(0));
    // More than its scratch space has does not fit.
    let (status, _) = try_sh(
        &session,
        "dd if=/dev/zero of=/tmp/full bs=1M count=40; s=$?; rm /tmp/full; exit $s",
    )
    .await;
    assert_ne!(status, Status::Code(0));
    for place in ["/tmp", "/run", "/var/tmp", "/dev/shm"] {
        sh(&session, &format!("echo kept > {place}/kept")).await;
    }

    let count = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 4";
    let mut run = Run::new(["/bin/sh", "-c", count]).in_background();
    run.environment = vec![(b"PATH".to_vec(), b"/bin".to_vec())];
    let background = session.run(run).await.unwrap().id();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let terminal = session
        .run(Run::new(["/bin/sh"]).in_terminal(size))
        .await
        .unwrap();
    let shell = terminal.id();
    let (mut output, mut input) = terminal.split();
    input.write(b"x=$((40+2)); echo one-$x\n").await.unwrap();
    hear(&mut output, "one-42\r\n").await;
    drop((output, input, session, sessions));

    let sessions = site.sessions();
    let session = sessions.find(id.as_str()).await.unwrap();
    assert_eq!(session.record().state, State::Ready);
    assert_eq!(sh(&session, "cat /tmp/kept").await, "kept");
    let mut process = session
        .attach(background, Position::Start, false)
        .await
        .unwrap();
    let (mut lines, mut status) = (Vec::new(), None);
    while status.is_none() {
        match process.next().await.unwrap() {
            Some(ProcessEvent::Output(bytes)) => lines.extend_from_slice(bytes),
            Some(ProcessEvent::Exited(exited)) => status = Some(exited.status),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(status, Some(Status::Code(4)));
    assert!(String::from_utf8_lossy(&lines).ends_with("line 29\n"));
    let processes = session.processes().await.unwrap();
    assert!(processes.iter().any(|process| process.process == shell));
    session.signal(shell, 9).await.unwrap();

    // Copies, both ways.
    let there = site.path().join("there");
    std::fs::create_dir_all(there.join("deep")).unwrap();
    std::fs::write(there.join("deep/file"), vec![b'x'; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("deep/file", there.join("link")).unwrap();
    let files = session.files("/").unwrap();
    let mut quiet = |_: &Copied| ();
    files
        .copy_in(&there, Path::new("tmp/there"), &mut quiet)
        .await
        .unwrap();
    let back = site.path().join("back");
    let copied = files
        .copy_out(
            Path::new("tmp/there"),
            &back,
            CopyLimits::default(),
            &mut quiet,
        )
        .await
        .unwrap();
    assert_eq!((copied.files, copied.links), (1, 1));
    assert_eq!(
        std::fs::read(back.join("deep/file")).unwrap(),
        vec![b'x'; 3 << 20]
    );

    sessions.remove(&session).await.unwrap();
    site.is_clean();
    assert!(sessions.find(id.as_str()).await.is_err());
}

#[tokio::test]
async fn a_session_for_development_writes_its_root_and_ends_when_nobody_is_there() {
    let site = site();
    let sessions = site.sessions();
    let session = create(&site.config, &sessions, |spec| {
        spec.profile = Profile::Dev;
        spec.limits.idle = Duration::from_secs(8);
        spec.setup = Vec::new();
    })
    .await
    .unwrap();
    let script =
        "echo x > /etc/x && chown 1000:1000 /etc/x && chmod 4755 /etc/x && stat -c %u:%a /etc/x";
    assert_eq!(sh(&session, script).await, "1000:4755");
    sh(
        &session,
        "rm /etc/passwd && mkdir /new && test ! -e /etc/passwd",
    )
    .await;
    let (status, _) = try_sh(
        &session,
        "dd if=/dev/zero of=/full bs=1M count=40; s=$?; rm /full; exit $s",
    )
    .await;
    assert_ne!(status, Status::Code(0));
    let (status, _) = try_sh(&session, "mount -t tmpfs none /mnt").await;
    assert_ne!(status, Status::Code(0));
    while !machines().is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(ends(&session).await, State::Stopped);
    let why = session.record().why.unwrap();
    assert!(why.contains("idle"), "{why}");
    sessions.gc(false).await.unwrap();
    site.is_clean();
}

#[tokio::test]
async fn one_whose_machine_dies_behind_our_back_is_lost() {
    let site = site();
    let sessions = site.sessions();
    for victim in ["firecracker", "axo-runner"] {
        let session = create(&site.config, &sessions, |_| ()).await.unwrap();
        for process in named(victim) {
            kill(process);
        }
        while !machines().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(ends(&session).await, State::Lost, "{victim}");
        let why = session.record().why.unwrap();
        assert!(why.contains("its machine is gone"), "{why}");
        sessions.remove(&session).await.unwrap();
        site.is_clean();
    }
}

/// Its machine has work that nobody has a copy of.
#[tokio::test]
async fn one_that_does_not_answer_for_a_while_is_not_lost() {
    let site = site();
    let sessions = site.sessions();
    let session = create(&site.config, &sessions, |_| ()).await.unwrap();
    sh(&session, "echo kept > /tmp/kept").await;
    let id = session.record().id;
    // Nobody reaches its agent.
    let jail = PathBuf::from(format!("/proc/{}/root", machines()[0]));
    std::fs::rename(jail.join("v.sock"), jail.join("away")).unwrap();
    let found = sessions.find(id.as_str()).await.unwrap();
    assert_eq!(found.record().state, State::Ready);
    std::fs::rename(jail.join("away"), jail.join("v.sock")).unwrap();
    assert_eq!(sh(&session, "cat /tmp/kept").await, "kept");
    sessions.remove(&session).await.unwrap();
    site.is_clean();
}

#[tokio::test]
async fn one_whose_agent_dies_is_lost_with_the_reason() {
    let site = site();
    let sessions = site.sessions();
    let session = create(&site.config, &sessions, |spec| {
        spec.limits.memory = axo_core::Size::from_mib(64);
        spec.limits.scratch = axo_core::Size::from_mib(256);
    })
    .await
    .unwrap();
    // What is in memory stays there when its writer is killed, and the agent has no more.
    let fill = "dd if=/dev/zero of=/tmp/full bs=1M count=200";
    let command = Run::new(["/bin/busybox", "sh", "-c", fill]);
    let _ = session.output(command, 1 << 20).await;
    assert_eq!(ends(&session).await, State::Lost);
    let why = session.record().why.unwrap();
    assert!(why.contains("was ended by signal 9"), "{why}");
    sessions.remove(&session).await.unwrap();
    site.is_clean();
}

/// A process that makes sessions, which the next test kills.
#[tokio::test]
#[ignore = "a part of the next test"]
async fn a_maker() {
    let home = PathBuf::from(std::env::var_os(HOME).unwrap());
    let config = config_under(&home);
    let sessions = Sessions::open(config.clone()).unwrap();
    let session = create(&config, &sessions, |_| ()).await.unwrap();
    println!("\nsession {}", session.record().id);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn it_outlives_the_process_that_made_it() {
    let site = site();
    #[expect(clippy::disallowed_methods, reason = "a maker to be killed")]
    let mut maker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::a_maker", "--ignored", "--nocapture"])
        .env(HOME, site.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(maker.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.strip_prefix("session ").map(str::to_owned));
    maker.kill().unwrap();
    maker.wait().unwrap();
    let sessions = site.sessions();
    let session = sessions.find(&id.unwrap()).await.unwrap();
    assert_eq!(session.record().state, State::Ready);
    assert_eq!(sh(&session, "echo hello").await, "hello");
    session.stop(Duration::from_secs(2)).await.unwrap();
    assert_eq!(session.record().state, State::Stopped);
    site.is_clean();
}

#[tokio::test]
async fn what_a_machine_has_not_is_refused() {
    let site = site();
    let sessions = site.sessions();
    let bridge = create(&site.config, &sessions, |spec| {
        spec.network = Network::Bridge
    })
    .await;
    let Err(SessionError::Refused(refused)) = bridge else {
        panic!("{bridge:?}");
    };
    assert_eq!(refused.reason, RefusedReason::NoDevice);
    site.is_clean();
}
