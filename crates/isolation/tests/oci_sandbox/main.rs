#![cfg(test)]
#![cfg(feature = "oci-isolation")]
//! The container sandbox of the published crate: its behaviour, and one test for each of its known
//! faults (the contract's list).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axocoatl_isolation::oci_sandbox::{OciConfig, OciSandbox};
use axocoatl_isolation::{IsolationError, reap_containers};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(30);

/// A tool in C, whose `main` this is the body of.
const HEAD: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char text[1 << 16];
static void slurp(void) {
    FILE *f = fopen("/axocoatl/input.json", "r");
    if (!f) exit(40);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
}
static void answer(const char *json) {
    FILE *f = fopen("/axocoatl/output.json", "w");
    if (!f) exit(41);
    fputs(json, f);
    fclose(f);
}
int main(void) { slurp();
"#;

struct Bundles {
    home: tempfile::TempDir,
    sandbox: OciSandbox,
}

impl Bundles {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let sandbox = OciSandbox::new(OciConfig {
            state_root: home.path().join("state/oci"),
            bundle_root: home.path().join("bundles"),
            use_systemd: false,
        })
        .unwrap();
        Self { home, sandbox }
    }

    fn bundle(&self, tool: &str) -> PathBuf {
        self.home.path().join("bundles").join(tool)
    }

    /// Adds a tool, compiled from the body of its `main`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tools are compiled where they are tested"
    )]
    fn add(&self, tool: &str, body: &str) -> &Self {
        let rootfs = self.bundle(tool).join("rootfs");
        for directory in ["proc", "sys", "dev", "tmp", "axocoatl"] {
            std::fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        let source = self.home.path().join("tool.c");
        std::fs::write(&source, format!("{HEAD}{body}\nreturn 0; }}\n")).unwrap();
        let compiled = std::process::Command::new("gcc")
            .args(["-O1", "-static", "-o"])
            .args([&rootfs.join("tool"), &source])
            .status();
        assert!(
            compiled.is_ok_and(|status| status.success()),
            "no C compiler: apt-get install gcc libc6-dev"
        );
        let config = json!({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/tool"]},
        });
        std::fs::write(self.bundle(tool).join("config.json"), config.to_string()).unwrap();
        self
    }

    async fn run(&self, tool: &str, input: Value) -> Result<Value, IsolationError> {
        self.sandbox.execute(tool, input, LONG).await
    }
}

#[test]
fn the_defaults_are_the_published_ones() {
    let config = OciConfig::default();
    assert_eq!(config.state_root, Path::new("/run/axocoatl/oci"));
    assert_eq!(config.bundle_root, Path::new("/var/axocoatl/bundles"));
    assert!(!config.use_systemd);
    let text = serde_json::to_string(&config).unwrap();
    let read: OciConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(read.bundle_root, config.bundle_root);
}

#[test]
fn both_directories_are_made_and_a_failure_names_the_path() {
    let bundles = Bundles::new();
    assert!(bundles.sandbox.config().state_root.is_dir());
    assert!(bundles.sandbox.config().bundle_root.is_dir());
    let file = bundles.home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let failed = OciSandbox::new(OciConfig {
        state_root: file.join("state"),
        bundle_root: bundles.home.path().join("b"),
        use_systemd: false,
    });
    match failed.map(|_| ()) {
        Err(IsolationError::OciSetupFailed(text)) => {
            assert!(
                text.contains(&file.join("state").display().to_string()),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_input_is_readable_and_the_output_file_is_returned() {
    let bundles = Bundles::new();
    bundles.add("echo", "answer(text);");
    let input = json!({"a": [1, 2, {"b": "ü"}]});
    assert_eq!(bundles.run("echo", input.clone()).await.unwrap(), input);
    // Fault: the container's own state directory was made before libcontainer made it, so that no
    // call succeeded. Here a second one does, too.
    assert_eq!(bundles.run("echo", json!(2)).await.unwrap(), json!(2));
}

#[tokio::test]
async fn the_exit_status_is_awaited() {
    // Fault: `start` was taken for completion.
    let bundles = Bundles::new();
    bundles
        .add("slow", "usleep(300000); answer(\"\\\"late\\\"\");")
        .add(
            "fails",
            "answer(\"1\"); fputs(\"broken\", stderr); return 3;",
        );
    assert_eq!(
        bundles.run("slow", json!(null)).await.unwrap(),
        json!("late")
    );
    match bundles.run("fails", json!(null)).await {
        Err(IsolationError::OciContainerFailed(text)) => {
            assert!(text.contains('3') && text.contains("broken"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_timeout_ends_the_container() {
    // Fault: it was left running.
    let bundles = Bundles::new();
    bundles.add("hangs", "pause();");
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let ended = bundles.sandbox.execute("hangs", json!(null), limit).await;
    assert!(matches!(ended, Err(IsolationError::Timeout(at)) if at == limit));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(containers("hangs"), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_reaches_a_path_is_refused_before_the_file_system_is_asked() {
    // Fault: the name reached the file system unchecked.
    let bundles = Bundles::new();
    bundles.add("echo", "answer(text);");
    let outside = bundles.home.path().join("outside");
    std::fs::rename(bundles.bundle("echo"), &outside).unwrap();
    for name in ["../outside", "..", "/", "", "a/b", "echo\0", "-x", "."] {
        let refused = bundles.run(name, json!(null)).await;
        assert!(
            matches!(refused, Err(IsolationError::ToolNotFound(_))),
            "{name:?} {refused:?}"
        );
    }
    assert!(matches!(
        bundles.run("absent", json!(null)).await,
        Err(IsolationError::ToolNotFound(_))
    ));
}

#[tokio::test]
async fn what_is_no_output_is_an_error_of_its_own() {
    let bundles = Bundles::new();
    bundles
        .add("none", "")
        .add("prose", "answer(\"not JSON\");")
        // Faults: the output was read without a limit, and through symbolic links.
        .add(
            "huge",
            "int f = open(\"/axocoatl/output.json\", O_CREAT | O_WRONLY, 0644); \
             if (ftruncate(f, 1L << 24)) return 9;",
        )
        .add(
            "link",
            "if (symlink(\"/axocoatl/input.json\", \"/axocoatl/output.json\")) return 9;",
        );
    for tool in ["none", "huge", "link"] {
        let read = bundles.run(tool, json!("secret")).await;
        assert!(
            matches!(read, Err(IsolationError::OutputReadFailed(_))),
            "{tool} {read:?}"
        );
    }
    assert!(matches!(
        bundles.run("prose", json!(null)).await,
        Err(IsolationError::Serialization(_))
    ));
}

#[tokio::test]
async fn nothing_remains_of_a_call() {
    let bundles = Bundles::new();
    bundles.add(
        "leaves",
        "if (fork() == 0) { setsid(); pause(); } answer(\"1\");",
    );
    assert_eq!(bundles.run("leaves", json!(null)).await.unwrap(), json!(1));
    assert_eq!(containers("leaves"), Vec::<String>::new());
    let state = std::fs::read_dir(&bundles.sandbox.config().state_root).unwrap();
    assert_eq!(state.count(), 0);
    let dead = reap_containers(true).unwrap();
    let ours = |path: &&PathBuf| path.display().to_string().contains("axocoatl-leaves-");
    assert_eq!(dead.iter().filter(ours).count(), 0);
}

#[tokio::test]
async fn a_broken_bundle_fails_and_says_how() {
    let bundles = Bundles::new();
    std::fs::create_dir_all(bundles.bundle("empty")).unwrap();
    match bundles.run("empty", json!(null)).await {
        Err(IsolationError::OciContainerFailed(text)) => {
            assert!(text.contains("config.json"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// What loads a program is looked up by the kernel while the container's first process still has
/// what made it: a path through a descriptor of the host's would lead out.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the tool is compiled where it is tested"
)]
async fn a_loader_cannot_be_reached_through_a_descriptor() {
    let bundles = Bundles::new();
    bundles.add("escapes", "answer(\"1\");");
    let source = bundles.home.path().join("tool.c");
    let out = "../".repeat(12);
    for number in 3..32 {
        let loader = format!("/proc/self/fd/{number}/{out}bin/sh");
        let compiled = std::process::Command::new("gcc")
            .args(["-O1", &format!("-Wl,--dynamic-linker={loader}"), "-o"])
            .args([&bundles.bundle("escapes").join("rootfs/tool"), &source])
            .status();
        assert!(compiled.is_ok_and(|status| status.success()));
        match bundles.run("escapes", json!(null)).await {
            Err(IsolationError::OciContainerFailed(text)) => {
                assert!(text.contains("cannot be executed"), "{number}: {text}");
            }
            other => panic!("descriptor {number} leads out: {other:?}"),
        }
    }
}

/// Cgroups of a tool's containers, which are called `axocoatl-{tool}-{uuid}`.
fn containers(tool: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = look.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("axocoatl-{tool}-")) {
                found.push(name);
            } else if depth < 4 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                look.push((entry.path(), depth + 1));
            }
        }
    }
    found
}
