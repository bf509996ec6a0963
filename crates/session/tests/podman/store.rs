//! What a probe found is used again as long as nothing has changed that it depends on.

use std::os::unix::fs::PermissionsExt as _;

use axo_session::podman::{Bridge, HardLimits, Host, Os, Probed, Proof, working};

use super::stand_in::StandIn;

fn host_that_works() -> StandIn {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.runtimes();
    stand_in.limited_container();
    stand_in.file("proc/sys/kernel/random/boot_id", "boot-1\n");
    stand_in.file("proc/sys/kernel/osrelease", "6.1.0\n");
    stand_in.podman(
        r#"case "$all" in *'--runtime '*/runc*) ;; *run*--rm*) echo 'Error: OCI runtime error: crun: cgroups in hybrid mode not supported' >&2; exit 126 ;; esac"#,
    );
    stand_in
}

async fn proof(host: &Host, stand_in: &StandIn) -> Proof {
    match working(host, &stand_in.request()).await.unwrap() {
        Probed::Ready(proof) => *proof,
        Probed::Unready(unready) => panic!("{unready:?}"),
    }
}

#[tokio::test]
async fn a_second_process_starts_no_container() {
    let stand_in = host_that_works();
    let first = proof(&stand_in.host(), &stand_in).await;
    assert_eq!(first.tried, 2);
    let runs = stand_in.calls("podman").len();
    let again = proof(&stand_in.host(), &stand_in).await;
    assert_eq!(stand_in.calls("podman").len(), runs + 1, "only its version");
    // All but the effort is the same, repairs included.
    assert_eq!(Proof { tried: 0, ..first }, again);
}

type Change = fn(&StandIn) -> Host;

#[tokio::test]
async fn whatever_it_depends_on_makes_a_new_probe() {
    let changes: [(&str, Change); 7] = [
        ("boot", |s| {
            s.file("proc/sys/kernel/random/boot_id", "boot-2\n");
            s.host()
        }),
        ("kernel", |s| {
            s.file("proc/sys/kernel/osrelease", "6.2.0\n");
            s.host()
        }),
        ("runtime", |s| {
            s.program("runc", "echo 'runc version 1.2.0'");
            s.host()
        }),
        ("another runtime", |s| {
            s.program("youki", "echo 'youki version 0.6.0'");
            s.host()
        }),
        ("podman", |s| {
            let path = s.bin().join("podman");
            let script = std::fs::read_to_string(&path)
                .unwrap()
                .replace("4.3.1", "4.3.2");
            let body = script.split_once("log'\n").unwrap().1.to_owned();
            s.program("podman", &body);
            s.host()
        }),
        ("user", |s| s.host().with_user(77)),
        ("limits", |s| {
            s.host().with_hard_limits(HardLimits {
                files: Some(5),
                processes: Some(5),
            })
        }),
    ];
    for (what, change) in changes {
        let stand_in = host_that_works();
        proof(&stand_in.host(), &stand_in).await;
        let host = change(&stand_in);
        assert!(proof(&host, &stand_in).await.tried > 0, "{what}");
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_or_foreign_is_as_good_as_none() {
    let stand_in = host_that_works();
    proof(&stand_in.host(), &stand_in).await;
    let path = stand_in.state().join("podman.json");
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in [
        String::new(),
        "null".into(),
        "[".repeat(100_000),
        good[..good.len() / 2].into(),
        good.replace("\"generation\": 1", "\"generation\": 2"),
        good.replace("hybrid-cgroups", "unheard-of"),
        good.replace("0.5", "-1.0"),
        format!("{good}{}", " ".repeat(70_000)),
    ] {
        assert_ne!(bad, good);
        std::fs::write(&path, &bad).unwrap();
        assert!(proof(&stand_in.host(), &stand_in).await.tried > 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), good, "repaired");
    }
    // Not followed, and not waited for.
    std::fs::remove_file(&path).unwrap();
    let elsewhere = stand_in.home().join("elsewhere");
    std::fs::write(&elsewhere, &good).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(proof(&stand_in.host(), &stand_in).await.tried > 0);
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), good);
}

#[tokio::test]
async fn what_the_file_shows_has_no_power_over_a_terminal() {
    let stand_in = host_that_works();
    proof(&stand_in.host(), &stand_in).await;
    let path = stand_in.state().join("podman.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("hybrid mode", "\\u001b[2Jhybrid mode")).unwrap();
    let proof = proof(&stand_in.host(), &stand_in).await;
    assert_eq!(proof.tried, 0);
    assert!(!proof.overcome[0].evidence.contains('\u{1b}'));
}

#[tokio::test]
async fn a_bridge_that_was_never_tried_is_tried_when_it_is_asked_for() {
    let stand_in = host_that_works();
    stand_in.file("usr/lib/podman/netavark", "");
    assert_eq!(
        proof(&stand_in.host(), &stand_in).await.bridge,
        Bridge::Untried
    );
    let mut request = stand_in.request();
    request.bridge = true;
    for tried in [true, false] {
        let Probed::Ready(proof) = working(&stand_in.host(), &request).await.unwrap() else {
            panic!()
        };
        assert_eq!(proof.bridge, Bridge::Works);
        assert_eq!(proof.tried > 0, tried);
    }
}

#[tokio::test]
async fn nothing_but_the_file_is_left_and_only_this_user_may_read_it() {
    let stand_in = host_that_works();
    proof(&stand_in.host(), &stand_in).await;
    let names: Vec<_> = std::fs::read_dir(stand_in.state())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["podman.json"]);
    let mode = std::fs::metadata(stand_in.state().join("podman.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
