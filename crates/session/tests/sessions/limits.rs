//! What a session may use, and how long it may live.

use std::path::PathBuf;
use std::time::Duration;

use axo_core::{CpuShare, Size};
use axo_session::agent::Run;
use axo_session::agent::proto::Status;
use axo_session::{Session, State};

use crate::site::{eventually, inspect, looked_at, says, shell, site};

/// A file of the session's control group, as the host has it; `v1` is its name and hierarchy there.
fn group(session: &Session, v1: (&str, &str), v2: &str) -> String {
    let pid = inspect(session, "{{.State.Pid}}");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let hierarchies = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let (controller, file) = v1;
    let path = hierarchies
        .map(|(controllers, path)| match controllers {
            "" => PathBuf::from("/sys/fs/cgroup").join(path).join(v2),
            all if all.split(',').any(|c| c == controller) => PathBuf::from("/sys/fs/cgroup")
                .join(controller)
                .join(path)
                .join(file),
            _ => PathBuf::new(),
        })
        .find(|path| path.is_file());
    let path = path.unwrap_or_else(|| panic!("no {controller} in {groups}"));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[tokio::test]
async fn limits_are_the_kernels() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| {
            s.limits.memory = Size::from_mib(128);
            s.limits.pids = 40;
            s.limits.files = 77;
            s.limits.cpu = CpuShare::from_cores(0.5).unwrap();
            s.limits.scratch = Size::from_mib(8);
        })
        .await
        .unwrap();
    let memory = group(&session, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(memory, (128 << 20).to_string());
    assert_eq!(group(&session, ("pids", "pids.max"), "pids.max"), "40");
    let quota = group(&session, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert_eq!(says(&session, "ulimit -n; ulimit -Hn").await, "77\n77\n");
    assert_eq!(says(&session, "ulimit -c; ulimit -Hc").await, "0\n0\n");

    // Each scratch file system is bounded, and a full one harms nobody.
    for directory in ["/tmp", "/run", "/var/tmp", "/dev/shm"] {
        let fill = format!("dd if=/dev/zero of={directory}/big bs=64k count=1000");
        let filled = shell(&session, &fill).await;
        assert_ne!(filled.exited.status, Status::Code(0), "{directory}");
        let error = String::from_utf8_lossy(&filled.stderr).into_owned();
        assert!(error.contains("No space left"), "{error}");
        let size = says(&session, &format!("stat -c %s {directory}/big")).await;
        assert_eq!(size.trim(), (8 << 20).to_string(), "{directory}");
        says(&session, &format!("rm {directory}/big")).await;
    }
    let disk = session.metrics().await.unwrap().disk.unwrap();
    assert_eq!(disk.total, 8 << 20);
}

#[tokio::test]
async fn a_fork_bomb_is_held() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| s.limits.pids = 48)
        .await
        .unwrap();
    let bomb = "(i=0; while [ $i -lt 2000 ]; do sleep 60 & i=$((i+1)); done); exec sleep 60";
    let run = Run::new(["/bin/sh", "-c", bomb]).in_background();
    let process = session.run(run).await.unwrap();
    let tasks = || group(&session, ("pids", "pids.current"), "pids.current");
    eventually("a full session", async || {
        tasks().parse::<u32>().unwrap() >= 46
    })
    .await;
    for _ in 0..10 {
        assert!(tasks().parse::<u32>().unwrap() <= 48);
        assert_eq!(looked_at(&session).await.0, State::Ready);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    session.signal(process.id(), 9).await.unwrap();
    eventually("room", async || tasks().parse::<u32>().unwrap() < 20).await;
    assert_eq!(says(&session, "echo alive").await, "alive\n");
}

/// Runs what wants more memory than the session has. How it ended, if the session did not, and said
/// that this was why.
async fn greedy(run: Run) -> Option<Status> {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| s.limits.memory = Size::from_mib(64))
        .await
        .unwrap();
    let ended = session.output(run, 4096).await;
    match looked_at(&session).await {
        (State::Ready, _) => {
            assert_eq!(says(&session, "echo alive").await, "alive\n");
            Some(ended.unwrap().exited.status)
        }
        (State::Lost, why) => {
            assert!(why.contains("memory"), "{why}");
            assert!(site.containers().is_empty());
            None
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn too_much_memory_costs_the_process_or_the_session_and_it_is_said() {
    let run = Run::new(["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]);
    if let Some(status) = greedy(run).await {
        assert_eq!(status, Status::Signal(9));
    }
}

/// Podman can limit no tmpfs in its files; each costs the session memory.
#[tokio::test]
async fn a_million_files_cost_the_session_its_memory() {
    let fill = "cd /tmp; i=0; while [ $i -lt 1000000 ]; do : > $i || exit 1; i=$((i+1)); done";
    if let Some(status) = greedy(Run::new(["/bin/sh", "-c", fill])).await {
        assert_ne!(status, Status::Code(0));
    }
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| s.limits.idle = Duration::from_secs(2))
        .await
        .unwrap();
    // Whoever is there keeps it.
    assert_eq!(says(&session, "sleep 4; echo here").await, "here\n");
    // To ask the agent would be to use it.
    let running = async || inspect(&session, "{{.State.Running}}") == "false";
    eventually("the end", running).await;
    let (state, why) = looked_at(&session).await;
    assert_eq!(state, State::Stopped, "{why}");
    assert!(why.contains("idle for 2 s"), "{why}");
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}

#[tokio::test]
async fn a_session_past_its_time_ends_however_it_is_used() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| s.limits.total = Duration::from_secs(3))
        .await
        .unwrap();
    let run = Run::new(["/bin/sh", "-c", "while :; do sleep 1; done"]);
    let cut = session.output(run, 4096).await;
    assert!(cut.is_err() || cut.unwrap().exited.status != Status::Code(0));
    let running = async || inspect(&session, "{{.State.Running}}") == "false";
    eventually("the end", running).await;
    let (state, why) = looked_at(&session).await;
    assert_eq!(state, State::Stopped, "{why}");
    assert!(why.contains("running for 3 s"), "{why}");
    assert!(site.containers().is_empty());
}
