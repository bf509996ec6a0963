//! Each way in which a machine ends, and that nothing is left of it.

use std::time::Duration;

use axo_core::Size;
use axo_runner::Status;
use axo_tier_vm::machine::{How, MachineError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{self, Made, boot, boot_of, fails};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_machine_is_started_spoken_with_and_ended() {
    let (machine, traces) = boot("good").await.map_err(|(e, _)| e).unwrap();
    assert_eq!(machine.version().await.unwrap(), "0.0.1");
    let mut stream = machine.connect(5000, SOON).await.unwrap();
    let mut first = [0; 11];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first bytes");
    stream.write_all(b"echoed").await.unwrap();
    let mut echoed = [0; 6];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"echoed");
    for line in [
        "in the mode good",
        r#"PUT /machine-config HTTP/1.1: {"vcpu_count":1,"mem_size_mib":128,"smt":false}"#,
        r#""boot_args":"console=ttyS0""#,
        "CONNECT 5000",
    ] {
        support::says(&machine, line).await;
    }
    assert!(!traces.cgroups().is_empty());
    let end = machine.end().await.unwrap();
    assert_eq!(end.how, How::Stopped(Status::Signaled(9)));
    assert!(end.peak_memory.is_none_or(|peak| peak > 1 << 20));
    // It is gone when that is told, and not some time later.
    assert_eq!(traces.cgroups(), Vec::<std::path::PathBuf>::new());
    assert_eq!(traces.processes(), Vec::<u32>::new());
    traces.vanish();
}

#[tokio::test]
async fn a_machine_that_is_dropped_goes_with_its_children() {
    let (machine, traces) = boot("children").await.map_err(|(e, _)| e).unwrap();
    let cgroup = traces.cgroups().pop().unwrap();
    let members = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    let members: Vec<u32> = members.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(
        members.len(),
        5,
        "guard, Firecracker and three: {members:?}"
    );
    drop(machine);
    traces.vanish();
    assert!(!members.iter().any(|pid| support::lives(*pid)));
}

#[tokio::test]
async fn a_killed_runner_takes_its_machine_along_and_what_it_leaves_is_removed() {
    let (machine, traces) = boot("children").await.map_err(|(e, _)| e).unwrap();
    let cgroup = traces.cgroups().pop().unwrap();
    let members = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    let [_, _, runner] = traces.line();
    support::kill(runner);
    let end = tokio::time::timeout(SOON, machine.ended()).await.unwrap();
    assert!(matches!(end.how, How::Runner(_)), "{end:?}");
    let later = machine.connect(5000, SOON).await.unwrap_err();
    assert!(matches!(later, MachineError::Ended { .. }), "{later}");
    drop(machine);
    tokio::task::spawn_blocking(move || traces.vanish())
        .await
        .unwrap();
    for pid in members.lines() {
        assert!(!support::lives(pid.parse().unwrap()), "{pid} lives");
    }
}

#[tokio::test]
async fn a_killed_guard_and_a_killed_firecracker_end_the_machine() {
    for place in [0, 1] {
        let (machine, traces) = boot("children").await.map_err(|(e, _)| e).unwrap();
        assert!(machine.lives());
        support::kill(traces.line()[place]);
        let end = tokio::time::timeout(SOON, machine.ended()).await.unwrap();
        assert_eq!(end.how, How::Stopped(Status::Signaled(9)), "{place}");
        assert!(!machine.lives());
        // The runner has ended, and has removed all.
        tokio::task::spawn_blocking(move || traces.vanish())
            .await
            .unwrap();
    }
}

/// An engine of its own, which the next test kills.
#[tokio::test]
#[ignore = "a part of the next test"]
async fn an_engine_that_waits() {
    let (machine, traces) = boot("children").await.map_err(|(e, _)| e).unwrap();
    println!("\nmachine {}", traces.id());
    machine.ended().await;
}

#[tokio::test]
async fn a_killed_engine_takes_its_machines_along() {
    use std::io::BufRead as _;
    #[expect(clippy::disallowed_methods, reason = "an engine to be killed")]
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ends::an_engine_that_waits"])
        .args(["--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(engine.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.strip_prefix("machine ").map(str::to_owned));
    let traces = support::Traces::of(id.unwrap());
    assert_eq!(traces.line().len(), 3);
    assert!(!traces.cgroups().is_empty());
    engine.kill().unwrap();
    engine.wait().unwrap();
    // There is nobody but the runner to do it.
    traces.vanish();
}

#[tokio::test]
async fn what_ended_a_machine_is_told_with_its_last_words() {
    for (mode, how) in [
        ("powers off", How::PoweredOff),
        ("forbidden call", How::Stopped(Status::Exited(148))),
        ("crashes", How::Stopped(Status::Signaled(6))),
        ("exits at once", How::Stopped(Status::Exited(7))),
    ] {
        let error = fails(mode).await;
        let MachineError::Ended {
            how: found,
            console,
            ..
        } = error
        else {
            panic!("{mode}: {error}");
        };
        assert_eq!(found, how, "{mode}");
        assert!(
            console.contains(&format!("in the mode {mode}")),
            "{console}"
        );
    }
}

#[tokio::test]
async fn a_machine_that_needs_more_memory_than_it_may_is_killed_for_that() {
    let made = Made::limited(Size::from_mib(32));
    let Err((error, traces)) = boot_of(made, "eats memory").await else {
        panic!("it boots");
    };
    traces.vanish();
    let MachineError::Ended { how, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(how, How::OutOfMemory);
}

#[tokio::test]
async fn a_jailer_that_refuses_is_told_from_a_firecracker_that_ends() {
    let mut made = Made::new();
    made.config.jailer = std::fs::File::open(support::stand_in()).unwrap();
    let Err((error, traces)) = boot_of(made, "good").await else {
        panic!("it boots");
    };
    traces.vanish();
    let MachineError::Ended { how, console, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(how, How::JailerRefused(Status::Exited(3)));
    assert!(console.contains("there is no room"), "{console}");
}

#[tokio::test]
async fn what_the_machine_could_not_read_or_execute_is_refused_with_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt as _;
    let made = Made::new();
    let mut guest = made.guest("good");
    let secret = made.file("secret", "x");
    secret
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    guest.kernel = secret;
    let traces = support::Traces::of(made.id.clone());
    let error = axo_tier_vm::machine::Machine::boot(made.config, &guest, None).await;
    let text = axo_core::chain(&error.err().unwrap()).to_string();
    assert!(text.contains("kernel") && text.contains("600"), "{text}");
    traces.vanish();
}
