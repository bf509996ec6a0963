//! Hosts made of shell scripts and files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use axo_session::podman::{HardLimits, Host, Os, ProbeRequest};
use tempfile::TempDir;

/// A host whose programs and files are the test's own.
pub(crate) struct StandIn {
    home: TempDir,
    os: Os,
    uid: u32,
}

/// The pid of every container of a stand-in.
const PID: u32 = 4242;

impl StandIn {
    /// A host without any program, as root.
    pub(crate) fn new(os: Os) -> Self {
        let home = tempfile::Builder::new()
            .prefix("axo-probe-test-")
            .tempdir()
            .unwrap();
        for directory in ["bin", "root", "state"] {
            std::fs::create_dir(home.path().join(directory)).unwrap();
        }
        let stand_in = Self { home, os, uid: 0 };
        stand_in.file("usr/share/containers/seccomp.json", "{}");
        stand_in
    }

    pub(crate) fn of_user(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// A program on the search path. What it is called with is written down.
    pub(crate) fn program(&self, name: &str, body: &str) -> PathBuf {
        let path = self.bin().join(name);
        let log = self.log(name);
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\n{body}\n",
            log.display()
        );
        write_program(&path, &script);
        path
    }

    /// What a program was called with so far, a line each.
    pub(crate) fn calls(&self, name: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        log.lines().map(String::from).collect()
    }

    /// A file of the host, by its path without the first slash.
    pub(crate) fn file(&self, path: &str, content: &str) {
        let path = self.home.path().join("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        Host::of_process()
            .with_os(self.os)
            .with_search_path([self.bin()])
            .with_root(self.home.path().join("root"))
            .with_user(self.uid)
            .with_hard_limits(HardLimits {
                files: Some(20_000),
                processes: Some(96_365),
            })
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.home.path().join("bin")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where a probe keeps what it finds.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn request(&self) -> ProbeRequest {
        ProbeRequest {
            program: "/bin/sh".into(),
            directory: self.state(),
            bridge: false,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.path().join(format!("{name}.log"))
    }

    /// A podman that starts containers unless `refuses`, a piece of shell that sees the whole command
    /// line as `$all`, ends it before.
    pub(crate) fn podman(&self, refuses: &str) {
        let inspected = format!(
            r#"[{{"State":{{"Pid":{PID}}},"HostConfig":{{"Memory":67108864,"MemorySwap":67108864,"PidsLimit":64,"NanoCpus":500000000}}}}]"#
        );
        let crun = self.bin().join("crun").display().to_string();
        self.podman_that_says(&INFO.replace("CRUN", &crun), &inspected, refuses);
    }

    pub(crate) fn podman_that_says(&self, info: &str, inspected: &str, refuses: &str) {
        let body = format!(
            r#"all="$*"
case "$all" in
    --version) echo 'podman version 4.3.1'; exit ;;
    machine*) echo '[{{"Name":"default","Running":true}}]'; exit ;;
esac
while :; do case "$1" in --runtime | --cgroup-manager) shift 2 ;; *) break ;; esac; done
for last; do :; done
case "$1" in
    info | create | init | run) {refuses}
        : ;;
esac
case "$1" in
    info) cat <<'END'
{info}
END
    ;;
    ps) echo '[]' ;;
    run) echo "$last" ;;
    container) echo '{inspected}' ;;
esac"#
        );
        self.program("podman", &body);
    }

    /// The kernel's files of a container on cgroup v2 that has the limits of the probe.
    pub(crate) fn limited_container(&self) {
        self.file("sys/fs/cgroup/libpod-1/memory.max", "67108864\n");
        self.file("sys/fs/cgroup/libpod-1/pids.max", "64\n");
        self.file("sys/fs/cgroup/libpod-1/cpu.max", "50000 100000\n");
        self.unlimited_container();
    }

    /// The same without limits.
    pub(crate) fn unlimited_container(&self) {
        self.file(&format!("proc/{PID}/cgroup"), "0::/libpod-1\n");
        self.file(
            &format!("proc/{PID}/limits"),
            "Max open files            256                  256                  files\n",
        );
        self.file("proc/self/cgroup", "0::/us\n");
        self.file(
            "proc/self/mountinfo",
            "30 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        );
        self.file(
            "sys/fs/cgroup/cgroup.controllers",
            "cpuset cpu io memory pids\n",
        );
        self.file("proc/sys/kernel/pid_max", "32768\n");
    }

    /// Two runtimes beside podman.
    pub(crate) fn runtimes(&self) {
        self.program("crun", "echo 'crun version 1.8.1'");
        self.program("runc", "echo 'runc version 1.1.5'");
    }
}

/// What podman says of itself where crun is its runtime and systemd makes cgroups.
const INFO: &str = r#"{"host":{"cgroupManager":"systemd","ociRuntime":{"name":"crun","path":"CRUN"},"security":{"rootless":false}}}"#;

/// Writes a program by another process. Were it open for writing in this one, a test beside that forks
/// just then would keep it so in its child, and what is open for writing cannot be executed.
fn write_program(path: &Path, script: &str) {
    #[expect(clippy::disallowed_methods, reason = "see above")]
    let mut child = std::process::Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
