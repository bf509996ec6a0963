//! Podman is installed when that is asked for, by the system's package manager and without questions.

use axo_session::podman::{Os, PodmanError, PodmanReadiness, detect_on, ensure_ready_on};

use super::stand_in::StandIn;

/// As `sudo -n` does it.
const SUDO: &str = r#"[ "$1" = -n ] || exit 9; shift; exec "$@""#;
const SUDO_THAT_WOULD_ASK: &str = "echo 'sudo: a password is required' >&2; exit 1";

/// A package manager that installs a podman if it is called rightly.
fn manager(stand_in: &StandIn, name: &str, rightly: &str, podman: &str) {
    let path = stand_in.bin().join("podman");
    let body = format!(
        "case \"$*\" in *'{rightly}'*) printf '#!/bin/sh\\n%s\\n' '{podman}' > '{path}'; /bin/chmod +x '{path}' ;; esac",
        path = path.display()
    );
    stand_in.program(name, &body);
}

const PODMAN: &str = "echo podman version 5.0.0";

#[tokio::test]
async fn each_manager_of_linux_installs_it_without_asking() {
    for (name, expected) in [
        ("apt-get", vec!["update -q", "install -q -y podman"]),
        ("dnf", vec!["install -y -q podman"]),
        ("pacman", vec!["-S --noconfirm --needed podman"]),
        ("zypper", vec!["--non-interactive --quiet install podman"]),
    ] {
        for uid in [0, 1000] {
            for os in [Os::Linux, Os::Wsl] {
                let stand_in = StandIn::new(os).of_user(uid);
                stand_in.program("sudo", SUDO);
                stand_in.program("env", r#"shift; exec "$@""#);
                manager(&stand_in, name, "podman", PODMAN);
                ensure_ready_on(&stand_in.host()).await.unwrap();
                assert_eq!(stand_in.calls(name), expected, "{os:?}");
                let by_sudo = stand_in.calls("sudo");
                let calls = if uid == 0 { 0 } else { expected.len() };
                assert_eq!(by_sudo.len(), calls, "{by_sudo:?}");
                assert!(
                    by_sudo.iter().all(|call| call.starts_with("-n ")),
                    "{by_sudo:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn homebrew_and_winget_install_it_as_the_user() {
    let running = r#"case $1 in --version) echo podman version 5.0.0;; machine) echo [{\"Running\":true}];; esac"#;
    for (os, name, expected) in [
        (Os::MacOs, "brew", "install --quiet podman"),
        (
            Os::Windows,
            "winget",
            "install --exact --silent --disable-interactivity --accept-package-agreements \
             --accept-source-agreements --id RedHat.Podman",
        ),
    ] {
        let stand_in = StandIn::new(os).of_user(501);
        stand_in.program("sudo", SUDO);
        manager(&stand_in, name, "odman", running);
        ensure_ready_on(&stand_in.host()).await.unwrap();
        assert_eq!(stand_in.calls(name), [expected]);
        assert!(stand_in.calls("sudo").is_empty());
    }
}

#[tokio::test]
async fn a_fresh_macos_is_told_of_the_machine_after_the_installation() {
    let stand_in = StandIn::new(Os::MacOs);
    let no_machine = "case $1 in --version) echo podman version 5.0.0;; machine) echo [];; esac";
    manager(&stand_in, "brew", "podman", no_machine);
    let error = ensure_ready_on(&stand_in.host()).await.unwrap_err();
    assert!(matches!(error, PodmanError::MachineMissing), "{error}");
}

#[tokio::test]
async fn what_cannot_be_installed_is_told_with_the_command() {
    // sudo would ask for a password.
    let asking = StandIn::new(Os::Linux).of_user(1000);
    asking.program("sudo", SUDO_THAT_WOULD_ASK);
    asking.program("apt-get", "exit 7");
    // There is no sudo.
    let without_sudo = StandIn::new(Os::Linux).of_user(1000);
    without_sudo.program("apt-get", "exit 7");
    // The manager fails.
    let failing = StandIn::new(Os::Linux);
    failing.program("env", r#"shift; exec "$@""#);
    failing.program(
        "apt-get",
        "echo 'E: Unable to locate package podman' >&2; exit 100",
    );
    // It succeeds, and there is no podman.
    let lying = StandIn::new(Os::Linux);
    lying.program("env", r#"shift; exec "$@""#);
    lying.program("apt-get", "exit 0");
    for (stand_in, why) in [
        (&asking, "a password is required"),
        (&without_sudo, "no program sudo"),
        (&failing, "Unable to locate package podman"),
        (&lying, "not installed"),
    ] {
        let error = ensure_ready_on(&stand_in.host()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
        assert!(text.contains("sudo apt-get install -y podman"), "{text}");
        assert!(asking.calls("apt-get").is_empty());
    }
}

#[tokio::test]
async fn a_system_without_a_known_manager_is_told_where_to_look() {
    for os in [Os::Linux, Os::Other] {
        let stand_in = StandIn::new(os);
        let text = ensure_ready_on(&stand_in.host())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("https://podman.io/docs/installation"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn looking_installs_nothing() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.program("apt-get", "exit 0");
    let host = stand_in.host();
    assert_eq!(detect_on(&host).await, PodmanReadiness::NotInstalled);
    let probed = axo_session::podman::probe(&host, &stand_in.request())
        .await
        .unwrap();
    assert!(matches!(probed, axo_session::podman::Probed::Unready(_)));
    assert!(stand_in.calls("apt-get").is_empty());
}
