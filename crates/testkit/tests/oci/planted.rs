//! What the host process has lying around does not reach a tool: variables, descriptors, its
//! working directory.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::host::{alone, runners, until};
use crate::site::{Site, TOOL_NAME, ask, block_on, engine, tool};

const HOME: &str = "AXO_TEST_PLANTED_HOME";

/// Not a test: the host process. It answers in a line, and goes when its standard input closes.
#[test]
fn host_process() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else {
        return;
    };
    block_on(async {
        let engine = engine(&home, 1, 8, None);
        let mut found = Vec::new();
        // A cold container, then a warm one.
        for _ in 0..2 {
            let fds = ask(&engine, json!({"op": "fds"})).await;
            let env = ask(&engine, json!({"op": "env"})).await;
            let cwd = ask(&engine, json!({"op": "cwd"})).await;
            found.push(json!({"fds": fds["fds"], "env": env, "cwd": cwd}));
        }
        // Only the containers may hold it now.
        std::env::set_current_dir("/").unwrap();
        let us = std::process::id();
        until("one waits", || runners(us).len() == 1);
        println!("\nfound {}", Value::from(found));
        std::io::stdout().flush().unwrap();
        let _ = std::io::stdin().read_line(&mut String::new());
        assert_eq!(runners(us).len(), 1, "it waits no more");
    });
}

#[test]
fn nothing_of_the_host_process_reaches_a_tool() {
    let _alone = alone();
    let site = Site::new();
    let secret = site.path().join("secret");
    std::fs::write(&secret, "of the host").unwrap();
    let directory = Mounted::new(site.path().join("mounted"));

    // Descriptors that are passed on when a program is executed, as a careless one leaves them.
    let mut host = run(
        "sh",
        &[
            "-c",
            "exec 3<\"$1\" 4<>\"$1\" 5>>\"$1\" 9<\"$1\"; LISTEN_PID=$$ exec \"$0\" --exact \
             planted::host_process --nocapture",
            std::env::current_exe().unwrap().to_str().unwrap(),
            secret.to_str().unwrap(),
        ],
        &directory.0,
        &[
            (HOME, site.path().to_str().unwrap()),
            (TOOL_NAME, tool().as_str()),
            ("LISTEN_FDS", "3"),
            ("LISTEN_FDNAMES", "a:b:c"),
            ("NOTIFY_SOCKET", "/run/planted"),
            ("AXO_PLANTED", "yes"),
        ],
    );
    // Open until it has ended: it says more.
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let told = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("found ").map(str::to_owned));
    let told: Value = serde_json::from_str(&told.expect("the host process ended")).unwrap();

    for found in told.as_array().unwrap() {
        assert_eq!(found["fds"], json!([0, 1, 2]), "{found}");
        let env = found["env"].as_object().unwrap();
        let planted = [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "AXO_PLANTED",
        ];
        for name in planted.into_iter().chain([HOME]) {
            assert!(!env.contains_key(name), "{found}");
        }
        assert!(!found["cwd"].to_string().contains("mounted"), "{found}");
    }
    assert!(directory.unmount(), "a container that waits holds it");
    drop(host.stdin.take());
    assert!(host.wait().unwrap().success(), "the host process failed");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the host process is one of its own"
)]
fn run(program: &str, arguments: &[&str], directory: &Path, variables: &[(&str, &str)]) -> Child {
    std::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A file system of its own.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let path_text = path.to_str().unwrap();
        let mounting = run(
            "mount",
            &["-t", "tmpfs", "tmpfs", path_text],
            Path::new("/"),
            &[],
        );
        assert!(mounting.wait_with_output().unwrap().status.success());
        Self(path)
    }

    fn unmount(&self) -> bool {
        let unmounting = run("umount", &[self.0.to_str().unwrap()], Path::new("/"), &[]);
        unmounting.wait_with_output().unwrap().status.success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.to_str().unwrap();
        let _ = run("umount", &["-l", "-q", path], Path::new("/"), &[]).wait();
    }
}
