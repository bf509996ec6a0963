//! What is told of podman on each operating system.

use axo_session::podman::{
    Host, Os, PodmanError, PodmanReadiness, detect_on, ensure_ready_on, manual_install_hint_on,
};

use super::stand_in::StandIn;

const ALL: [Os; 5] = [Os::Linux, Os::Wsl, Os::MacOs, Os::Windows, Os::Other];
const NATIVE: [Os; 3] = [Os::Linux, Os::Wsl, Os::Other];
const WITH_MACHINE: [Os; 2] = [Os::MacOs, Os::Windows];

/// A podman whose machines are what `list` prints.
fn podman(stand_in: &StandIn, list: &str, start: &str) {
    let body = format!(
        r#"case "$*" in
    --version) echo 'podman version 4.3.1' ;;
    'machine list --format json') {list} ;;
    'machine start') {start} ;;
    *) exit 1 ;;
esac"#
    );
    stand_in.program("podman", &body);
}

#[tokio::test]
async fn absent_is_absent_everywhere() {
    for os in ALL {
        let stand_in = StandIn::new(os);
        assert_eq!(
            detect_on(&stand_in.host()).await,
            PodmanReadiness::NotInstalled,
            "{os:?}"
        );
    }
}

#[tokio::test]
async fn one_that_does_not_answer_is_as_good_as_absent() {
    for os in ALL {
        let stand_in = StandIn::new(os);
        stand_in.program("podman", "exit 1");
        assert_eq!(
            detect_on(&stand_in.host()).await,
            PodmanReadiness::NotInstalled,
            "{os:?}"
        );
    }
}

#[tokio::test]
async fn linux_needs_no_machine_and_is_not_asked_for_one() {
    for os in NATIVE {
        let stand_in = StandIn::new(os);
        podman(&stand_in, "exit 1", "exit 1");
        assert_eq!(
            detect_on(&stand_in.host()).await,
            PodmanReadiness::Ready,
            "{os:?}"
        );
        ensure_ready_on(&stand_in.host()).await.unwrap();
        assert_eq!(
            stand_in.calls("podman"),
            ["--version", "--version"],
            "{os:?}"
        );
    }
}

#[tokio::test]
async fn a_machine_runs_or_is_stopped_or_missing() {
    for (list, expected) in [
        (
            r#"echo '[{"Name":"a","Running":false},{"Running":true}]'"#,
            PodmanReadiness::Ready,
        ),
        (
            r#"echo '[{"Name":"a","Running":false}]'"#,
            PodmanReadiness::MachineStopped,
        ),
        (r#"echo '[{"Name":"a"}]'"#, PodmanReadiness::MachineStopped),
        ("echo '[]'", PodmanReadiness::MachineMissing),
        ("echo null", PodmanReadiness::MachineMissing),
        // What cannot be read counts as no machine.
        ("echo 'Error: no'", PodmanReadiness::MachineMissing),
        (
            r#"echo '{"Running":true}'"#,
            PodmanReadiness::MachineMissing,
        ),
        (
            r#"echo '[{"Running":"yes"}]'"#,
            PodmanReadiness::MachineMissing,
        ),
        ("exit 125", PodmanReadiness::MachineMissing),
        (
            "head -c 3000000 /dev/zero | tr '\\0' '['",
            PodmanReadiness::MachineMissing,
        ),
    ] {
        for os in WITH_MACHINE {
            let stand_in = StandIn::new(os);
            podman(&stand_in, list, "exit 1");
            assert_eq!(
                detect_on(&stand_in.host()).await,
                expected,
                "{os:?}: {list}"
            );
        }
    }
}

#[tokio::test]
async fn a_stopped_machine_is_started() {
    for os in WITH_MACHINE {
        for start in [
            "exit 0",
            "echo 'Error: cannot start VM default: VM already running or starting' >&2; exit 125",
            "echo 'Error: unable to start \"default\": already running' >&2; exit 125",
        ] {
            let stand_in = StandIn::new(os);
            podman(&stand_in, r#"echo '[{"Running":false}]'"#, start);
            ensure_ready_on(&stand_in.host()).await.unwrap();
            assert!(
                stand_in.calls("podman").contains(&"machine start".into()),
                "{os:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_machine_that_does_not_start_is_told_with_the_command() {
    for os in WITH_MACHINE {
        let stand_in = StandIn::new(os);
        podman(
            &stand_in,
            r#"echo '[{"Running":false}]'"#,
            "printf 'Error: no \\033[31mhypervisor\\n' >&2; exit 125",
        );
        let error = ensure_ready_on(&stand_in.host()).await.unwrap_err();
        assert!(matches!(error, PodmanError::MachineStart { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("podman machine start") && text.contains("hypervisor"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[tokio::test]
async fn a_machine_is_never_made_without_the_user() {
    for os in WITH_MACHINE {
        let stand_in = StandIn::new(os);
        podman(&stand_in, "echo '[]'", "exit 0");
        let error = ensure_ready_on(&stand_in.host()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("podman machine init && podman machine start"),
            "{text}"
        );
        let calls = stand_in.calls("podman");
        assert!(!calls.iter().any(|call| call.contains("init")), "{calls:?}");
    }
}

#[test]
fn the_summary_says_what_to_do() {
    let summary = |readiness: PodmanReadiness, host: &Host| readiness.summary_on(host);
    for os in ALL {
        let host = StandIn::new(os).host();
        let line = summary(PodmanReadiness::NotInstalled, &host);
        assert!(line.contains(manual_install_hint_on(&host)), "{line}");
        let line = summary(PodmanReadiness::MachineMissing, &host);
        assert!(
            line.contains("podman machine init && podman machine start"),
            "{line}"
        );
        let line = summary(PodmanReadiness::MachineStopped, &host);
        assert!(line.contains("podman machine start"), "{line}");
        assert!(!line.contains("init"), "{line}");
        for readiness in [
            PodmanReadiness::Ready,
            PodmanReadiness::NotInstalled,
            PodmanReadiness::MachineMissing,
            PodmanReadiness::MachineStopped,
        ] {
            assert_eq!(summary(readiness, &host).lines().count(), 1);
        }
    }
}

#[test]
fn the_hint_is_the_command_of_this_system() {
    let hint = |os, program: &str| {
        let stand_in = StandIn::new(os);
        if !program.is_empty() {
            stand_in.program(program, "");
        }
        manual_install_hint_on(&stand_in.host())
    };
    for (os, program, command) in [
        (Os::Linux, "apt-get", "sudo apt-get install -y podman"),
        (Os::Wsl, "apt-get", "sudo apt-get install -y podman"),
        (Os::Linux, "dnf", "sudo dnf install -y podman"),
        (Os::Linux, "pacman", "sudo pacman -S --noconfirm podman"),
        (
            Os::Linux,
            "zypper",
            "sudo zypper --non-interactive install podman",
        ),
        (Os::Linux, "", "https://podman.io/docs/installation"),
        // A package manager of another system is none.
        (Os::Linux, "brew", "https://podman.io/docs/installation"),
        (Os::MacOs, "", "brew install podman"),
        (Os::Windows, "", "winget install --exact --id RedHat.Podman"),
        (Os::Other, "", "https://podman.io/docs/installation"),
    ] {
        let hint = hint(os, program);
        assert!(hint.starts_with(command), "{os:?} {program}: {hint}");
    }
}
