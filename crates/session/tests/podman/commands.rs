//! How podman is run: bounded in time and output, told little, and ended with all it started.

use std::time::{Duration, Instant};

use axo_session::podman::{Combination, Os, Podman, PodmanError, Runtime};
use rustix::process::{Pid, test_kill_process};

use super::stand_in::StandIn;

const LONG: Duration = Duration::from_secs(60);

fn podman(stand_in: &StandIn, body: &str) -> Podman {
    stand_in.program("podman", body);
    Podman::find(&stand_in.host()).unwrap()
}

/// Waits for a pid that a stand-in writes.
async fn pid(stand_in: &StandIn, name: &str) -> Pid {
    for _ in 0..1000 {
        let text = std::fs::read_to_string(stand_in.home().join(name)).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            return pid;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} was not written");
}

async fn is_gone(pid: Pid) -> bool {
    for _ in 0..500 {
        // One that is dead and not reaped yet, its parent being dead too, runs no more.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
        let dead = stat.is_ok_and(|stat| stat.contains(") Z "));
        if dead || test_kill_process(pid).is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn arguments_reach_it_as_they_are() {
    let stand_in = StandIn::new(Os::Linux);
    let podman = podman(&stand_in, r#"for a; do printf '<%s>' "$a"; done"#);
    let odd = ["run", "a b", "$(id)", "", "*", "-", "é\n"];
    let output = podman.run(odd, LONG).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "<run><a b><$(id)><><*><-><é\n>");
}

#[tokio::test]
async fn global_options_come_before_the_verb() {
    let stand_in = StandIn::new(Os::Linux);
    let combination = Combination {
        runtime: Runtime::At("/usr/sbin/runc".into()),
        ..Combination::default()
    };
    let podman = podman(&stand_in, "").with(&combination);
    podman.run(["ps"], LONG).await.unwrap();
    assert_eq!(stand_in.calls("podman"), ["--runtime /usr/sbin/runc ps"]);
}

#[tokio::test]
async fn it_has_no_input_and_is_told_only_what_it_needs() {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.program("podman", "cat; env");
    let host = stand_in
        .host()
        .with_variable("HOME", Some("/home/me"))
        .with_variable("LISTEN_FDS", Some("3"))
        .with_variable("http_proxy", Some("http://secret@proxy"));
    let output = Podman::find(&host)
        .unwrap()
        .run(["ps"], LONG)
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().filter_map(|l| l.split('=').next()).collect();
    names.sort_unstable();
    for name in ["HOME", "LC_ALL", "PATH"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    for name in ["LISTEN_FDS", "http_proxy", "CARGO_MANIFEST_DIR", "CARGO"] {
        assert!(!names.contains(&name), "{name} of {names:?}");
    }
}

#[tokio::test]
async fn descriptors_of_ours_are_not_its() {
    let stand_in = StandIn::new(Os::Linux);
    let podman = podman(&stand_in, "ls /proc/self/fd | wc -l");
    let file = std::fs::File::open("/dev/null").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&file, 100).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let output = podman.run(["ps"], LONG).await.unwrap();
    // Its three streams, and the directory that `ls` reads.
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "4");
}

#[tokio::test]
async fn a_flood_is_refused() {
    let stand_in = StandIn::new(Os::Linux);
    for stream in ["", ">&2"] {
        let podman = podman(&stand_in, &format!("exec cat /dev/zero {stream}"));
        let error = podman.run(["info"], LONG).await.unwrap_err();
        assert!(matches!(error, PodmanError::Flood { .. }), "{error}");
        assert!(error.to_string().contains("podman info"), "{error}");
    }
}

#[tokio::test]
async fn what_is_late_is_ended_with_all_it_started() {
    let stand_in = StandIn::new(Os::Linux);
    let home = stand_in.home().display().to_string();
    let podman = podman(
        &stand_in,
        &format!(
            "trap '' TERM; echo 'waiting for a lock' >&2; sleep 1000 & echo $! > {home}/child; \
             echo $$ > {home}/self; while :; do sleep 1000; done"
        ),
    );
    let began = Instant::now();
    let error = podman
        .run(["pull"], Duration::from_millis(500))
        .await
        .unwrap_err();
    assert!(matches!(error, PodmanError::Late { .. }), "{error}");
    assert!(error.to_string().contains("waiting for a lock"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(is_gone(pid(&stand_in, "self").await).await);
    assert!(is_gone(pid(&stand_in, "child").await).await);
}

#[tokio::test]
async fn what_is_not_waited_for_is_ended_with_all_it_started() {
    let stand_in = StandIn::new(Os::Linux);
    let home = stand_in.home().display().to_string();
    let podman = podman(
        &stand_in,
        &format!("sleep 1000 & echo $! > {home}/child; echo $$ > {home}/self; wait"),
    );
    let call = tokio::spawn(async move { podman.run(["pull"], LONG).await });
    let (child, own) = (pid(&stand_in, "child").await, pid(&stand_in, "self").await);
    call.abort();
    assert!(is_gone(own).await && is_gone(child).await);
}

#[tokio::test]
async fn what_it_leaves_in_the_background_lives_and_is_not_waited_for() {
    let stand_in = StandIn::new(Os::Linux);
    let home = stand_in.home().display().to_string();
    // As a monitor or a helper of the network, with its streams still open.
    let podman = podman(
        &stand_in,
        &format!("sleep 1000 & echo $! > {home}/helper; echo id"),
    );
    let began = Instant::now();
    let output = podman.run(["run", "-d"], LONG).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(output.stdout, b"id\n");
    let helper = pid(&stand_in, "helper").await;
    assert!(test_kill_process(helper).is_ok());
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_failure_says_what_it_was_and_what_it_said() {
    let stand_in = StandIn::new(Os::Linux);
    let podman = podman(
        &stand_in,
        "printf 'Error: \\033[2Jno such container\\n' >&2; exit 125",
    );
    let error = podman
        .run(["rm", "x"], LONG)
        .await
        .unwrap()
        .succeeded()
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("podman rm") && text.contains("125"), "{text}");
    assert!(
        text.contains("no such container") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_told() {
    let stand_in = StandIn::new(Os::Linux);
    for answer in [
        "echo nonsense",
        "head -c 100000 /dev/zero | tr '\\0' '['",
        ":",
    ] {
        let podman = podman(&stand_in, answer);
        let error = podman.ask::<Vec<String>>(["ps"], LONG).await.unwrap_err();
        assert!(matches!(error, PodmanError::Answer { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_is_gone_is_told() {
    let stand_in = StandIn::new(Os::Linux);
    let podman = podman(&stand_in, "");
    std::fs::remove_file(podman.program()).unwrap();
    let error = podman.run(["ps"], LONG).await.unwrap_err();
    assert!(matches!(error, PodmanError::Start { .. }), "{error}");
}
