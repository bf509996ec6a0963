//! This host, with its own podman.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use axo_session::podman::{
    Bridge, Cause, Host, Podman, PodmanReadiness, ProbeRequest, Probed, Proof, Runtime, Witness,
    detect, detect_on, ensure_ready_on, probe, working,
};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);

/// What the guest agent does when it is called as `probe NONCE`.
const PROGRAM: &str = "#include <stdio.h>\n#include <string.h>\n\
    int main(int count, char **words) {\n\
    if (count == 3 && !strcmp(words[1], \"probe\")) return puts(words[2]) < 0;\n\
    return 2; }\n";

/// Podman of this host, or how to get it.
pub(crate) fn podman() -> Podman {
    Podman::find(&Host::of_process())
        .expect("podman is not installed; install it: apt-get install podman runc")
}

/// A static program for containers.
pub(crate) fn program() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let draft = directory.join(format!("axo-probe-program-{}", std::process::id()));
        let source = draft.with_extension("c");
        std::fs::write(&source, PROGRAM).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test compiles its program")]
        let status = std::process::Command::new("cc")
            .args(["-static", "-Os", "-o"])
            .arg(&draft)
            .arg(&source)
            .status()
            .expect("cc is not installed; install it: apt-get install gcc libc6-dev");
        assert!(
            status.success(),
            "cc cannot link statically: apt-get install gcc libc6-dev"
        );
        std::fs::remove_file(&source).unwrap();
        // Tests are processes of their own, and each makes it.
        let path = directory.join("axo-probe-program");
        std::fs::rename(&draft, &path).unwrap();
        path
    });
    made.clone()
}

fn request() -> (TempDir, ProbeRequest) {
    podman();
    let directory = tempfile::Builder::new()
        .prefix("axo-probe-test-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let request = ProbeRequest {
        program: program(),
        directory: directory.path().to_owned(),
        bridge: false,
    };
    (directory, request)
}

async fn proved(request: &ProbeRequest) -> Proof {
    match probe(&Host::of_process(), request).await.unwrap() {
        Probed::Ready(proof) => *proof,
        Probed::Unready(unready) => panic!("no container starts here: {unready:#?}"),
    }
}

/// The names of all containers that are marked as a probe's.
async fn containers() -> Vec<String> {
    let list = [
        "ps",
        "--all",
        "--filter",
        "label=io.axocoatl.probe",
        "--format",
        "{{.Names}}",
    ];
    let output = podman()
        .run(list, MINUTE)
        .await
        .unwrap()
        .succeeded()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(String::from).collect()
}

#[tokio::test]
async fn podman_is_found_and_is_not_without_it() {
    podman();
    assert_eq!(detect().await, PodmanReadiness::Ready);
    ensure_ready_on(&Host::of_process()).await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    let without = Host::of_process().with_search_path([empty.path().to_owned()]);
    assert_eq!(detect_on(&without).await, PodmanReadiness::NotInstalled);
}

#[tokio::test]
async fn a_combination_is_found_without_any_flag_and_its_limits_are_in_force() {
    let (directory, request) = request();
    let proof = proved(&request).await;
    assert_eq!(proof.witness, Witness::Kernel);
    // crun refuses hosts such as this project's own.
    let hybrid = proof
        .overcome
        .iter()
        .any(|f| f.cause == Cause::HybridCgroups);
    if hybrid {
        assert!(matches!(&proof.combination.runtime, Runtime::At(path) if path.ends_with("runc")));
    }
    assert_eq!(
        hybrid,
        is_hybrid() && default_runtime().await.contains("crun")
    );
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["podman.json"]);

    // It is remembered, and what is remembered is the same.
    let Probed::Ready(again) = working(&Host::of_process(), &request).await.unwrap() else {
        panic!()
    };
    assert_eq!(*again, Proof { tried: 0, ..proof });
}

fn is_hybrid() -> bool {
    std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists()
}

async fn default_runtime() -> String {
    let info = ["info", "--format", "{{.Host.OCIRuntime.Path}}"];
    let output = podman().run(info, MINUTE).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_bridge_works_or_what_is_missing_is_named() {
    let (_directory, mut request) = request();
    request.bridge = true;
    match proved(&request).await.bridge {
        Bridge::Works => {}
        Bridge::Fails(finding) => assert!(!finding.repair.text.is_empty(), "{finding:?}"),
        Bridge::Untried => panic!("it was asked for"),
    }
}

#[tokio::test]
async fn a_program_that_says_something_else_is_no_proof() {
    let (directory, mut request) = request();
    request.program = directory.path().join("script");
    std::fs::write(&request.program, "no program").unwrap();
    let Probed::Unready(unready) = probe(&Host::of_process(), &request).await.unwrap() else {
        panic!()
    };
    let causes: Vec<Cause> = unready.findings.iter().map(|f| f.cause).collect();
    assert!(causes.contains(&Cause::WrongProgram), "{unready:#?}");
}

/// Dropped at any moment, a probe leaves no container.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_dropped_leaves_nothing() {
    let (directory, request) = request();
    let before = containers().await;
    for moment in [50, 150, 250, 400, 600, 800] {
        let request = request.clone();
        let call = tokio::spawn(async move { probe(&Host::of_process(), &request).await });
        tokio::time::sleep(Duration::from_millis(moment)).await;
        call.abort();
        let _ = call.await;
    }
    // Other tests of this host probe as well; ours are told by their directory.
    let ours = directory.path().display().to_string();
    for _ in 0..100 {
        let mut left = Vec::new();
        for name in containers().await {
            let inspect = ["container", "inspect", "--format", "{{.Rootfs}}", &name];
            let output = podman().run(inspect, MINUTE).await.unwrap();
            let root = String::from_utf8(output.stdout).unwrap();
            if root.contains(&ours) || (root.is_empty() && !before.contains(&name)) {
                left.push(name);
            }
        }
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("containers remain");
}

#[tokio::test]
async fn the_container_of_a_dead_probe_is_removed_by_the_next() {
    let (_directory, request) = request();
    let proof = proved(&request).await;
    let podman = podman().with(&proof.combination);
    let name = format!("axo-probe-dead-{}", std::process::id());
    let root = tempfile::tempdir().unwrap();
    let root = proof.combination.root_options(root.path()).unwrap();
    let mut create: Vec<std::ffi::OsString> =
        ["create", "--name", &name, "--network", "none", "--label"]
            .map(Into::into)
            .to_vec();
    create.push("io.axocoatl.probe=1000".into());
    create.extend(root);
    create.push("/none".into());
    podman
        .run(create, MINUTE)
        .await
        .unwrap()
        .succeeded()
        .unwrap();
    assert!(containers().await.contains(&name));
    proved(&request).await;
    assert!(!containers().await.contains(&name));
}
