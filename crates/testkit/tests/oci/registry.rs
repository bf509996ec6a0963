//! A real registry on loopback.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) struct Registry {
    process: Child,
    _directory: TempDir,
    pub(crate) address: String,
}

impl Registry {
    #[expect(clippy::disallowed_methods, reason = "the registry is a program")]
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        // Free a moment ago; the registry takes no socket.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {path}/data\n\
             http:\n  addr: {address}\n"
        );
        let config_path = directory.path().join("config.yml");
        std::fs::write(&config_path, config).unwrap();
        let process = std::process::Command::new("docker-registry")
            .arg("serve")
            .arg(&config_path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("docker-registry: {error}; apt-get install docker-registry")
            });
        let registry = Self {
            process,
            _directory: directory,
            address,
        };
        let start = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "the registry does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Pushes the one image of an OCI layout as `name`, unchanged.
    pub(crate) fn push(&self, layout: &Path, name: &str) {
        let source = format!("oci:{}", layout.display());
        let target = format!("docker://{}/{name}", self.address);
        let arguments = ["--insecure-policy", "copy", "--quiet", "--preserve-digests"];
        let arguments = [
            &arguments[..],
            &["--dest-tls-verify=false", &source, &target],
        ]
        .concat();
        run("skopeo", "skopeo", &arguments);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a program, which is in the Debian package `package`.
#[expect(clippy::disallowed_methods, reason = "the tests use what Debian has")]
pub(crate) fn run(program: &str, package: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install {package}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
