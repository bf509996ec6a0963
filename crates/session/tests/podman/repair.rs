//! Repairs: what would be done is told before, and done only when asked.

use axo_session::podman::{
    Cause, Finding, Os, PodmanError, Probed, Progress, Repair, Step, carry_out, fix, plan, probe,
};

use super::stand_in::StandIn;

fn finding(cause: Cause) -> Finding {
    Finding {
        cause,
        evidence: String::new(),
        repair: Repair {
            text: String::new(),
            commands: Vec::new(),
            can_fix: false,
        },
    }
}

fn steps(stand_in: &StandIn, cause: Cause) -> Vec<String> {
    let plan = plan(&stand_in.host(), &[finding(cause)]);
    assert_eq!(plan.steps.is_empty(), !plan.left.is_empty(), "{cause}");
    plan.steps.iter().map(Step::shown).collect()
}

/// A Debian host with a user.
fn debian() -> StandIn {
    let stand_in = StandIn::new(Os::Linux).of_user(1000);
    stand_in.program("apt-get", "");
    stand_in.program("sudo", r#"shift; exec "$@""#);
    stand_in.file(
        "etc/passwd",
        "root:x:0:0::/:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n",
    );
    stand_in
}

#[test]
fn packages_have_the_names_of_each_system() {
    for (manager, cause, expected) in [
        ("apt-get", Cause::UidmapMissing, "-y uidmap"),
        ("dnf", Cause::UidmapMissing, "-q shadow-utils"),
        ("pacman", Cause::UidmapMissing, "--needed shadow"),
        ("zypper", Cause::UidmapMissing, "install shadow"),
        ("apt-get", Cause::HybridCgroups, "-y runc"),
        ("apt-get", Cause::FuseOverlayfsMissing, "-y fuse-overlayfs"),
        ("dnf", Cause::ConmonMissing, "-q conmon"),
        ("apt-get", Cause::NetworkHelperMissing, "-y slirp4netns"),
    ] {
        let stand_in = StandIn::new(Os::Linux).of_user(1000);
        stand_in.program(manager, "");
        let steps = steps(&stand_in, cause);
        assert!(steps.last().unwrap().ends_with(expected), "{steps:?}");
        assert!(
            steps.iter().all(|step| step.starts_with("sudo ")),
            "{steps:?}"
        );
    }
}

#[test]
fn a_runtime_that_is_there_is_not_installed_again() {
    let stand_in = debian();
    stand_in.program("runc", "");
    assert!(steps(&stand_in, Cause::HybridCgroups).is_empty());
}

#[test]
fn subordinate_ids_are_taken_where_nobody_has_them() {
    let stand_in = debian();
    stand_in.file("etc/subuid", "you:100000:65536\n");
    stand_in.file("etc/subgid", "you:100000:65536\nme:165536:65536\n");
    let step = &steps(&stand_in, Cause::NoSubordinateIds)[0];
    // The groups are there already, and what both files give away is left alone.
    assert_eq!(step, "sudo usermod --add-subuids 231072-296607 me");
    stand_in.file("etc/nsswitch.conf", "subid: sss\n");
    assert!(steps(&stand_in, Cause::NoSubordinateIds).is_empty());
}

#[test]
fn kernel_settings_are_changed_only_where_they_are_wrong() {
    let stand_in = debian();
    stand_in.file("proc/sys/user/max_user_namespaces", "0\n");
    stand_in.file("proc/sys/kernel/unprivileged_userns_clone", "1\n");
    assert_eq!(
        steps(&stand_in, Cause::UserNamespacesOff),
        [
            "sudo sysctl -w user.max_user_namespaces=15000",
            "sudo sh -c 'printf '\\''user.max_user_namespaces = 15000\\n'\\'' >> /etc/sysctl.d/90-axocoatl.conf'",
        ]
    );
}

#[test]
fn podman_gets_a_profile_of_its_own_and_the_restriction_stays() {
    let stand_in = debian();
    let podman = stand_in.program("podman", "");
    stand_in.program("apparmor_parser", "");
    let steps = steps(&stand_in, Cause::AppArmorUserNamespaces).join("\n");
    assert!(
        steps.contains(&format!(
            "profile podman {} flags=(unconfined)",
            podman.display()
        )),
        "{steps}"
    );
    assert!(
        steps.contains("apparmor_parser -r /etc/apparmor.d/podman"),
        "{steps}"
    );
    assert!(!steps.contains("sysctl"), "{steps}");
    stand_in.file("etc/apparmor.d/podman", "");
    assert!(self::steps(&stand_in, Cause::AppArmorUserNamespaces).is_empty());
}

#[test]
fn delegation_needs_a_systemd() {
    let stand_in = debian();
    assert!(steps(&stand_in, Cause::LimitsNotEnforced).is_empty());
    stand_in.file("run/systemd/system/x", "");
    let steps = steps(&stand_in, Cause::LimitsNotEnforced);
    let expected = [
        "mkdir -p /etc/systemd/system/user@.service.d",
        "Delegate=cpu cpuset io memory pids",
        "systemctl daemon-reload",
        "loginctl enable-linger me",
    ];
    assert_eq!(steps.len(), expected.len());
    for (step, part) in steps.iter().zip(expected) {
        assert!(step.contains(part), "{step}");
    }
}

#[test]
fn what_a_person_has_to_decide_is_left() {
    let stand_in = debian();
    stand_in.file("run/systemd/system/x", "");
    for cause in [
        Cause::MachineMissing,
        Cause::PodmanTooOld,
        Cause::CgroupV1Rootless,
        Cause::Rlimits,
        Cause::Selinux,
        Cause::StaleState,
        Cause::ProcMasked,
        Cause::NoExec,
        Cause::Unknown,
    ] {
        assert!(steps(&stand_in, cause).is_empty(), "{cause}");
    }
}

#[test]
fn every_cause_says_what_would_help_on_every_system() {
    for os in [Os::Linux, Os::Wsl, Os::MacOs, Os::Windows, Os::Other] {
        for uid in [0, 1000] {
            let stand_in = StandIn::new(os).of_user(uid);
            // The probe makes findings with their repairs.
            let plan = plan(
                &stand_in.host(),
                &Cause::ALL.iter().map(|c| finding(*c)).collect::<Vec<_>>(),
            );
            for step in plan.steps {
                assert!(!step.why.is_empty() && !step.command.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn findings_say_whether_they_can_be_repaired() {
    let stand_in = debian();
    let Probed::Unready(unready) = probe(&stand_in.host(), &stand_in.request()).await.unwrap()
    else {
        panic!()
    };
    let repair = &unready.findings[0].repair;
    assert!(repair.can_fix);
    assert!(
        repair
            .commands
            .last()
            .unwrap()
            .ends_with("apt-get install -q -y podman"),
        "{repair:?}"
    );
    // Nothing was done.
    assert!(stand_in.calls("apt-get").is_empty() && stand_in.calls("sudo").is_empty());
}

/// A fresh Debian whose podman comes with crun alone, on a host with hybrid cgroups: as the issue has
/// it, and as this project's own host is.
#[tokio::test]
async fn a_fresh_host_is_repaired_step_by_step_and_proved() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.limited_container();
    stand_in.podman(
        r#"case "$all" in *'--runtime '*/runc*) ;; *run*--rm*) echo 'Error: OCI runtime error: crun: cgroups in hybrid mode not supported' >&2; exit 126 ;; esac"#,
    );
    stand_in.file("usr/lib/podman/netavark", "");
    stand_in.program("crun.package", "echo crun version 1.8.1");
    stand_in.program("runc.package", "echo runc version 1.1.5");
    let bin = stand_in.bin();
    let bin = bin.display();
    std::fs::rename(
        stand_in.bin().join("podman"),
        stand_in.bin().join("podman.package"),
    )
    .unwrap();
    stand_in.program("env", r#"shift; exec "$@""#);
    stand_in.program(
        "apt-get",
        &format!(
            "case \"$*\" in
    *podman) mv {bin}/podman.package {bin}/podman; mv {bin}/crun.package {bin}/crun ;;
    *runc) mv {bin}/runc.package {bin}/runc ;;
    update*) echo 'E: some mirror is down' >&2; exit 100 ;;
esac"
        ),
    );
    let mut told = Vec::new();
    let probed = fix(&stand_in.host(), &stand_in.request(), &mut |progress| {
        told.push(match progress {
            Progress::Begins { number, of, step } => format!("{number}/{of} {}", step.why),
            Progress::Done { .. } => "done".to_owned(),
            Progress::Skipped { why, .. } => format!("skipped: {why}"),
            Progress::Probing => "probing".to_owned(),
        });
    })
    .await
    .unwrap();
    let Probed::Ready(proof) = probed else {
        panic!("{probed:?}\n{told:#?}")
    };
    assert_eq!(proof.overcome[0].cause, Cause::HybridCgroups);
    let probes = told.iter().filter(|line| *line == "probing").count();
    assert_eq!(probes, 3, "{told:#?}");
    assert!(
        told.iter().any(|line| line.contains("some mirror is down")),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|line| line.starts_with("2/2 installs podman")),
        "{told:#?}"
    );
    assert!(stand_in.state().join("podman.json").exists());
}

#[tokio::test]
async fn a_repair_that_does_not_help_is_not_repeated() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.program("env", r#"shift; exec "$@""#);
    stand_in.program("apt-get", "exit 0");
    let probed = fix(&stand_in.host(), &stand_in.request(), &mut |_| {})
        .await
        .unwrap();
    assert!(matches!(probed, Probed::Unready(_)));
    assert_eq!(
        stand_in.calls("apt-get").len(),
        2,
        "update and install, once"
    );
}

#[tokio::test]
async fn a_step_that_fails_ends_the_repair_and_names_the_command() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.program("env", r#"shift; exec "$@""#);
    stand_in.program("apt-get", "printf 'E: \\033[1mno space\\n' >&2; exit 100");
    let error = fix(&stand_in.host(), &stand_in.request(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, PodmanError::Repair { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("no space") && text.contains("apt-get install -q -y podman"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn no_steps_do_nothing() {
    let stand_in = StandIn::new(Os::Linux);
    carry_out(&stand_in.host(), &[], &mut |_| panic!("told of nothing"))
        .await
        .unwrap();
}
