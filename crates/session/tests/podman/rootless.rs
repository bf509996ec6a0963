//! The real podman as an ordinary user, whatever user the tests are: root becomes one, with names and
//! ids that exist in a mount namespace of the test's own.

use std::path::Path;

use axo_session::podman::{Cause, Host, ProbeRequest, Probed, Witness, probe};

use super::real::{podman, program};

/// A user that the host does not have.
const UID: u32 = 48_213;

/// Where the test within finds what it needs.
const HOME: &str = "AXO_ROOTLESS_HOME";

const BECOME: &str = r#"set -e
cd "$1"
mount --bind etc /etc
shift
exec setpriv --reuid "$AXO_UID" --regid "$AXO_UID" --clear-groups env -i HOME="$PWD/home" \
    XDG_RUNTIME_DIR="$PWD/run" AXO_ROOTLESS_HOME="$PWD" PATH="$PATH" RUST_BACKTRACE=0 "$@"
"#;

/// On cgroup v1 podman drops an ordinary user's limits with a warning, and with crun on v2 without
/// systemd in silence. We refuse, or find what works.
#[tokio::test]
async fn an_ordinary_users_limits_are_in_force_or_refused() {
    podman();
    if !rustix::process::geteuid().is_root() {
        let home = tempfile::tempdir().unwrap();
        return limits_are_in_force_or_refused(home.path(), &program()).await;
    }
    let home = tempfile::Builder::new()
        .prefix("axo-probe-test-")
        .tempdir()
        .unwrap();
    let at = |name: &str| home.path().join(name);
    // The host's own settings, and the user.
    #[expect(clippy::disallowed_methods, reason = "the test copies a tree")]
    let copied = std::process::Command::new("cp")
        .args(["--archive", "/etc"])
        .arg(at("etc"))
        .status()
        .unwrap();
    assert!(copied.success());
    let with = |file: &str, line: String| {
        let path = at("etc").join(file);
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        text.push_str(&line);
        std::fs::write(&path, text).unwrap();
    };
    with(
        "passwd",
        format!("axo-probe:x:{UID}:{UID}::/nonexistent:/bin/sh\n"),
    );
    with("group", format!("axo-probe:x:{UID}:\n"));
    with("subuid", "axo-probe:700000000:65536\n".into());
    with("subgid", "axo-probe:700000000:65536\n".into());
    // The workspace may lie where no other user may enter.
    std::fs::copy(std::env::current_exe().unwrap(), at("test")).unwrap();
    std::fs::copy(program(), at("program")).unwrap();
    for directory in ["home", "run", "state"] {
        std::fs::create_dir(at(directory)).unwrap();
        std::os::unix::fs::chown(at(directory), Some(UID), Some(UID)).unwrap();
    }
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();

    #[expect(
        clippy::disallowed_methods,
        reason = "the test runs itself as another user"
    )]
    let status = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", BECOME, "sh"])
        .arg(home.path())
        .arg(at("test"))
        .args(["--exact", "rootless::within", "--ignored", "--nocapture"])
        .env("AXO_UID", UID.to_string())
        .status()
        .expect("unshare is missing: apt-get install util-linux");
    // Podman keeps the user's namespaces by a process of its own, which we started.
    let pause = std::fs::read_to_string(at("run/libpod/tmp/pause.pid")).unwrap_or_default();
    if let Some(pid) = pause
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    assert!(status.success(), "see above");
}

/// Run by the test above, as another user.
#[tokio::test]
#[ignore = "runs as the user that the test above makes"]
async fn within() {
    let home = std::env::var_os(HOME).expect("run the test above instead");
    let home = Path::new(&home);
    assert_eq!(rustix::process::geteuid().as_raw(), UID);
    limits_are_in_force_or_refused(&home.join("state"), &home.join("program")).await;
}

async fn limits_are_in_force_or_refused(state: &Path, program: &Path) {
    let request = ProbeRequest {
        program: program.to_owned(),
        directory: state.to_owned(),
        bridge: false,
    };
    let cgroup_v1 = !Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    match probe(&Host::of_process(), &request).await.unwrap() {
        Probed::Ready(proof) => {
            assert!(
                !cgroup_v1,
                "an ordinary user has no limits on cgroup v1: {proof:#?}"
            );
            assert!(proof.rootless);
            assert_eq!(proof.witness, Witness::Kernel);
        }
        Probed::Unready(unready) => {
            let causes: Vec<Cause> = unready.findings.iter().map(|f| f.cause).collect();
            let refused = [Cause::CgroupV1Rootless, Cause::LimitsNotEnforced];
            assert!(
                causes.iter().any(|cause| refused.contains(cause)),
                "{unready:#?}"
            );
            assert!(!state.join("podman.json").exists());
        }
    }
    let left = std::fs::read_dir(state).unwrap().count();
    assert!(left <= 1, "podman.json at most");
}
