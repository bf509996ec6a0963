//! The search for a combination that works, on hosts that refuse some.

use axo_session::podman::{
    Bridge, Cause, CgroupManager, Finding, Os, Probed, Proof, Root, Runtime, Ulimits, Unready,
    Witness, probe,
};

use super::stand_in::StandIn;

async fn proof(stand_in: &StandIn) -> Proof {
    match probe(&stand_in.host(), &stand_in.request()).await.unwrap() {
        Probed::Ready(proof) => *proof,
        Probed::Unready(unready) => panic!("{unready:?}"),
    }
}

async fn unready(stand_in: &StandIn) -> Unready {
    match probe(&stand_in.host(), &stand_in.request()).await.unwrap() {
        Probed::Ready(proof) => panic!("{proof:?}"),
        Probed::Unready(unready) => unready,
    }
}

fn causes(findings: &[Finding]) -> Vec<Cause> {
    findings.iter().map(|finding| finding.cause).collect()
}

/// The runs of podman that were tried, without what each has.
fn runs(stand_in: &StandIn) -> Vec<String> {
    let calls = stand_in.calls("podman").into_iter();
    calls.filter(|call| call.contains("run --rm")).collect()
}

/// As crun says it on this project's own host.
const HYBRID: &str = r#"case "$all" in
    *'--runtime '*/runc*) ;;
    *run*--rm*) echo 'Error: OCI runtime error: crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2' >&2; exit 126 ;;
esac
"#;
const RLIMITS: &str = r#"case "$all" in
    *nproc=32768:32768*) ;;
    *run*--rm*) echo 'Error: crun: setrlimit `RLIMIT_NPROC`: Operation not permitted: OCI permission denied' >&2; exit 126 ;;
esac
"#;

#[tokio::test]
async fn podmans_own_settings_are_taken_where_they_work() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.podman("");
    let proof = proof(&stand_in).await;
    assert_eq!(proof.combination, Default::default());
    assert_eq!((proof.tried, proof.witness), (1, Witness::Kernel));
    assert!(proof.overcome.is_empty());
    assert!(proof.combination.global_options().is_empty());
}

#[tokio::test]
async fn every_wall_and_limit_of_a_session_is_asked_for() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.podman("");
    proof(&stand_in).await;
    for call in [&runs(&stand_in)[0], &stand_in.calls("podman")[4]] {
        for option in [
            "--name axo-probe-",
            "--network none",
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop all",
            "--security-opt no-new-privileges",
            "--http-proxy=false",
            "--cpus 0.5",
            "--memory 67108864b",
            "--memory-swap 67108864b",
            "--pids-limit 64",
            "--ulimit nofile=256:256",
            ":O /agent probe ",
        ] {
            assert!(call.contains(option), "{option}: {call}");
        }
    }
}

#[tokio::test]
async fn another_runtime_and_fitted_limits_are_found_in_three_tries() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.podman(&format!("{RLIMITS}{HYBRID}"));
    let proof = proof(&stand_in).await;
    assert_eq!(proof.tried, 3);
    assert_eq!(
        causes(&proof.overcome),
        [Cause::Rlimits, Cause::HybridCgroups]
    );
    assert!(
        proof.overcome[1]
            .evidence
            .contains("hybrid mode not supported")
    );
    assert_eq!(proof.combination.ulimits, Ulimits::Fitted);
    let Runtime::At(runtime) = &proof.combination.runtime else {
        panic!("{proof:?}")
    };
    assert!(runtime.ends_with("runc"));
    // Podman's own runtime first, and no combination twice.
    let runs = runs(&stand_in);
    assert!(runs[0].starts_with("run --rm"), "{runs:?}");
    assert!(
        runs[1].starts_with("run --rm") && runs[1].contains("nproc="),
        "{runs:?}"
    );
}

#[tokio::test]
async fn a_limit_that_is_dropped_in_silence_is_never_accepted() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.unlimited_container();
    stand_in.podman("");
    let unready = unready(&stand_in).await;
    assert_eq!(unready.findings[0].cause, Cause::LimitsNotEnforced);
    let evidence = &unready.findings[0].evidence;
    assert!(evidence.contains("memory without limit"), "{evidence}");
    assert!(!stand_in.state().join("podman.json").exists());
    // Every runtime with every manager, and none of them twice.
    assert_eq!(unready.tried, 4);
}

#[tokio::test]
async fn a_runtime_that_limits_is_taken_in_place_of_one_that_does_not() {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.runtimes();
    stand_in.limited_container();
    // Processes of other runtimes are in no cgroup of their own.
    stand_in.file("proc/1/cgroup", "0::/us\n");
    stand_in.file(
        "proc/1/limits",
        "Max open files            256                  256                  files\n",
    );
    let inspect = r#"case "$all" in
    *'--runtime '*/runc*) ;;
    *container*inspect*) echo '[{"State":{"Pid":1}}]'; exit ;;
esac"#;
    stand_in.podman("");
    let script = std::fs::read_to_string(stand_in.bin().join("podman")).unwrap();
    let (head, rest) = script.split_once("while :;").unwrap();
    let (_, body) = head.split_once("log'\n").unwrap();
    stand_in.program("podman", &format!("{body}{inspect}\nwhile :;{rest}"));
    let proof = proof(&stand_in).await;
    assert_eq!(causes(&proof.overcome), [Cause::LimitsNotEnforced]);
    assert!(matches!(&proof.combination.runtime, Runtime::At(path) if path.ends_with("runc")));
    assert_eq!(proof.combination.cgroups, CgroupManager::Podmans);
}

#[tokio::test]
async fn an_ordinary_user_on_cgroup_v1_is_refused_with_the_reason() {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.runtimes();
    stand_in.unlimited_container();
    std::fs::remove_file(
        stand_in
            .home()
            .join("root/sys/fs/cgroup/cgroup.controllers"),
    )
    .unwrap();
    stand_in.file("sys/fs/cgroup/memory/x", "");
    // Podman only warns.
    stand_in.podman(
        "echo 'Resource limits are not supported and ignored on cgroups V1 rootless systems' >&2",
    );
    let unready = unready(&stand_in).await;
    assert_eq!(unready.findings[0].cause, Cause::CgroupV1Rootless);
    assert!(unready.findings[0].repair.text.contains("cgroup v2"));
    assert_eq!(unready.tried, 1);
}

#[tokio::test]
async fn another_manager_of_cgroups_and_a_plain_root_are_found() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.podman(
        r#"case "$all" in
    *'--cgroup-manager cgroupfs'*) ;;
    *run*--rm*) echo 'Error: crun: sd-bus call: Interactive authentication required.: Permission denied' >&2; exit 126 ;;
esac
case "$all" in
    *run*--rm*:O\ *) echo 'Error: kernel does not support overlay fs: backing file system is unsupported for this graph driver' >&2; exit 125 ;;
esac
"#,
    );
    let proof = proof(&stand_in).await;
    assert_eq!(
        causes(&proof.overcome),
        [Cause::CgroupManager, Cause::Storage]
    );
    assert_eq!(proof.combination.cgroups, CgroupManager::Cgroupfs);
    assert_eq!(proof.combination.root, Root::Plain);
    assert_eq!(proof.combination.runtime, Runtime::Podmans);
}

#[tokio::test]
async fn what_no_combination_helps_against_ends_the_search_at_once() {
    for (message, cause) in [
        (
            r#"Error: could not find a working conmon binary (configured options: [/usr/bin/conmon]): invalid argument"#,
            Cause::ConmonMissing,
        ),
        (
            r#"Error: command required for rootless mode with multiple IDs: exec: "newuidmap": executable file not found in $PATH"#,
            Cause::UidmapMissing,
        ),
        (
            "cannot clone: Invalid argument\nuser namespaces are not enabled in /proc/sys/user/max_user_namespaces\nError: could not get runtime: cannot re-exec process",
            Cause::UserNamespacesOff,
        ),
    ] {
        let stand_in = StandIn::new(Os::Linux).of_user(1000);
        stand_in.runtimes();
        stand_in.limited_container();
        stand_in.podman(&format!(
            "cat >&2 <<'MESSAGE'\n{message}\nMESSAGE\nexit 125"
        ));
        let unready = unready(&stand_in).await;
        assert_eq!(unready.findings[0].cause, cause);
        assert_eq!(unready.tried, 1, "{cause}");
    }
}

#[tokio::test]
async fn a_message_that_nobody_knows_is_shown_beside_what_files_say() {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.file("proc/sys/user/max_user_namespaces", "0\n");
    stand_in.podman("printf 'Error: \\033]0;title\\007 the moon is wrong\\n' >&2; exit 125");
    let unready = unready(&stand_in).await;
    assert_eq!(unready.findings[0].cause, Cause::Unknown);
    assert!(unready.findings[0].evidence.contains("the moon is wrong"));
    assert!(!unready.findings[0].evidence.chars().any(char::is_control));
    assert!(causes(&unready.suspicions).contains(&Cause::UserNamespacesOff));
}

#[tokio::test]
async fn a_container_that_says_something_else_is_none_of_ours() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.limited_container();
    stand_in.podman(r#"case "$all" in *run*--rm*) echo hello; exit ;; esac"#);
    assert_eq!(unready(&stand_in).await.findings[0].cause, Cause::Unknown);
}

#[tokio::test]
async fn absent_silent_and_old_podmans_are_told_apart() {
    let absent = StandIn::new(Os::Linux);
    let silent = StandIn::new(Os::Linux);
    silent.program(
        "podman",
        "echo 'error while loading shared libraries' >&2; exit 127",
    );
    let mute = StandIn::new(Os::Linux);
    mute.program("podman", "exit 0");
    let old = StandIn::new(Os::Linux);
    old.program("podman", "echo podman version 3.4.4");
    for (stand_in, cause, evidence) in [
        (&absent, Cause::PodmanMissing, "search path"),
        (&silent, Cause::PodmanBroken, "shared libraries"),
        (&mute, Cause::PodmanBroken, "no version"),
        (&old, Cause::PodmanTooOld, "3.4.4"),
    ] {
        let unready = unready(stand_in).await;
        assert_eq!(causes(&unready.findings), [cause]);
        let said = &unready.findings[0].evidence;
        assert!(said.contains(evidence), "{said}");
    }
}

#[tokio::test]
async fn a_machine_is_asked_with_no_option_that_remote_podmans_lack() {
    for os in [Os::MacOs, Os::Windows] {
        let stand_in = StandIn::new(os).of_user(501);
        stand_in.runtimes();
        stand_in.podman("");
        let proof = proof(&stand_in).await;
        // The kernel is in the machine: podman's word is all there is.
        assert_eq!(proof.witness, Witness::Podman);
        let calls = stand_in.calls("podman");
        assert!(
            !calls
                .iter()
                .any(|call| call.starts_with("--") && !call.starts_with("--version")),
            "{calls:?}"
        );
        for option in ["nproc", "--http-proxy"] {
            assert!(!calls.iter().any(|call| call.contains(option)), "{calls:?}");
        }
    }
}

#[tokio::test]
async fn a_machine_whose_podman_noted_no_limit_is_refused() {
    let stand_in = StandIn::new(Os::MacOs).of_user(501);
    stand_in.podman_that_says(
        "{}",
        r#"[{"State":{"Pid":1},"HostConfig":{"Memory":67108864}}]"#,
        "",
    );
    let unready = unready(&stand_in).await;
    assert_eq!(unready.findings[0].cause, Cause::LimitsNotEnforced);
}

#[tokio::test]
async fn machines_that_are_missing_or_stopped_are_causes() {
    for (list, cause) in [
        ("[]", Cause::MachineMissing),
        (r#"[{"Running":false}]"#, Cause::MachineStopped),
    ] {
        let stand_in = StandIn::new(Os::MacOs);
        stand_in.program(
            "podman",
            &format!(
                "case $1 in --version) echo podman version 5.0.0 ;; machine) echo '{list}' ;; esac"
            ),
        );
        let unready = unready(&stand_in).await;
        assert_eq!(causes(&unready.findings), [cause]);
        assert_eq!(
            unready.findings[0].repair.can_fix,
            cause == Cause::MachineStopped
        );
    }
}

#[tokio::test]
async fn without_a_list_of_system_calls_nothing_is_tried() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.limited_container();
    stand_in.podman("");
    std::fs::remove_file(
        stand_in
            .home()
            .join("root/usr/share/containers/seccomp.json"),
    )
    .unwrap();
    let Probed::Unready(unready) = probe(&stand_in.host(), &stand_in.request()).await.unwrap()
    else {
        panic!()
    };
    let causes: Vec<Cause> = unready.findings.iter().map(|f| f.cause).collect();
    assert_eq!(causes, [Cause::SeccompProfileMissing]);
    let calls = stand_in.calls("podman");
    assert!(
        calls.iter().all(|call| !call.starts_with("run")),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_bridge_is_tried_only_when_that_is_asked_for() {
    let refusing = r#"case "$all" in *'--network bridge'*) echo 'Error: exec: "slirp4netns": executable file not found in $PATH' >&2; exit 127 ;; esac"#;
    for (refuses, asked) in [("", true), (refusing, true), (refusing, false)] {
        let stand_in = StandIn::new(Os::Linux);
        stand_in.limited_container();
        stand_in.file("usr/lib/podman/netavark", "");
        stand_in.podman(refuses);
        let mut request = stand_in.request();
        request.bridge = asked;
        let Probed::Ready(proof) = probe(&stand_in.host(), &request).await.unwrap() else {
            panic!()
        };
        let tried = runs(&stand_in)
            .iter()
            .any(|run| run.contains("--network bridge"));
        assert_eq!(tried, asked);
        match (&proof.bridge, asked, refuses.is_empty()) {
            (Bridge::Works, true, true) | (Bridge::Untried, false, _) => {}
            (Bridge::Fails(finding), true, false) => {
                assert_eq!(finding.cause, Cause::NetworkHelperMissing);
                assert!(causes(&proof.shortcomings).contains(&Cause::NetworkHelperMissing));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_containers_lack_is_told_although_they_start() {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.limited_container();
    stand_in.podman_that_says(
        r#"{"host":{"security":{"rootless":true}}}"#,
        r#"[{"State":{"Pid":4242}}]"#,
        "",
    );
    let proof = proof(&stand_in).await;
    assert!(proof.rootless);
    assert_eq!(
        causes(&proof.shortcomings),
        [Cause::NoSubordinateIds, Cause::NetworkHelperMissing]
    );
    assert!(matches!(proof.bridge, Bridge::Fails(_)));
}
