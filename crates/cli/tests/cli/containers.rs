//! Bundles and images of one program, BusyBox, made by hand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use axocoatl_isolation::images::{Digest, Platform};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::process::Running;
use crate::support::{Home, entries, set_mode, write};

/// The names under which BusyBox is in a root file system.
const APPLETS: [&str; 9] = [
    "sh", "cat", "echo", "env", "id", "ls", "sleep", "tail", "yes",
];

/// The name of the image that [`import`] makes.
pub(crate) const IMAGE: &str = "example.org/team/box:1";

/// A program that needs nothing but the kernel.
pub(crate) fn busybox() -> Vec<u8> {
    const INSTALL: &str = "install it: apt-get install busybox-static";
    let bytes = fs::read("/bin/busybox").unwrap_or_else(|e| panic!("/bin/busybox: {e}; {INSTALL}"));
    let is_static = !bytes.windows(10).any(|w| w == b"/ld-linux-");
    assert!(is_static, "/bin/busybox is not static; {INSTALL}");
    bytes
}

/// A tar, entry by entry, with whatever names.
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// A root file system with BusyBox.
    pub(crate) fn root() -> Self {
        let mut tar = Self(Vec::new()).dir("bin").entry(
            EntryType::Regular,
            "bin/busybox",
            0o755,
            "",
            &busybox(),
        );
        for applet in APPLETS {
            tar = tar.symlink(&format!("bin/{applet}"), "busybox");
        }
        tar
    }

    pub(crate) fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        mode: u32,
        link: &str,
        data: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.entry(EntryType::Regular, name, 0o644, "", data.as_bytes())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, 0o755, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, 0o777, target, b"")
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Imports BusyBox as [`IMAGE`], and tells its digest.
pub(crate) fn import(home: &Home) -> String {
    import_tar(home, IMAGE, &Tar::root().end())
}

/// Imports a root file system under a name.
pub(crate) fn import_tar(home: &Home, name: &str, tar: &[u8]) -> String {
    write(&home.work().join("root.tar"), tar);
    digest_of(home.axocoatl(&["image", "import", "root.tar", "--name", name, "--json"]))
}

/// Imports a root file system that is configured by `config`, as [`IMAGE`].
pub(crate) fn import_configured(home: &Home, config: &Value) -> String {
    let layout = home.work().join("layout");
    make_layout(
        &layout,
        &Tar::root().end(),
        &Platform::host().architecture,
        config,
    );
    digest_of(home.axocoatl(&["image", "import", "layout", "--name", IMAGE, "--json"]))
}

/// Imports [`IMAGE`], starts a container of it that says so and then does `stay`, and waits until it
/// has.
pub(crate) fn start_staying(home: &Home, stay: &str) -> Running {
    import(home);
    let out = home.shared_directory("out");
    let script = format!("echo x > /out/started; {stay}");
    let run = ["run", "--image", IMAGE, "--mount", "./out:/out:rw"];
    let command = ["--timeout", "1h", "--", "sh", "-c", &script];
    let mut running = home.start(&[&run[..], &command].concat());
    running.wait_for("the tool", || entries(&out).pop());
    running
}

fn digest_of(imported: crate::ended::Ended) -> String {
    let digest = imported.succeeds_silently().json()["digest"].clone();
    digest.as_str().unwrap().to_owned()
}

/// Writes an OCI layout of one layer, and tells the digest of its manifest. `top` is the
/// configuration's `config`, beside which `created` may be given.
pub(crate) fn make_layout(path: &Path, layer: &[u8], architecture: &str, top: &Value) -> String {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let descriptor = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest.as_str(), "size": bytes.len(),
        })
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "created": top["created"], "config": top,
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer).as_str()]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("config.v1+json", config.to_string().as_bytes()),
        "layers": [descriptor("layer.v1.tar", layer)],
    });
    let mut entry = descriptor("manifest.v1+json", manifest.to_string().as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    let index = json!({"schemaVersion": 2, "manifests": [&entry]});
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    entry["digest"].as_str().unwrap().to_owned()
}

/// What `runc spec` writes, with `args`.
pub(crate) fn runtime_config(args: &[&str]) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/acpi"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// A bundle of BusyBox that runs `args`.
pub(crate) fn make_bundle(path: &Path, args: &[&str]) -> PathBuf {
    let bin = path.join("rootfs/bin");
    for directory in ["bin", "proc", "sys", "dev", "tmp", "axocoatl"] {
        fs::create_dir_all(path.join("rootfs").join(directory)).unwrap();
    }
    fs::write(bin.join("busybox"), busybox()).unwrap();
    set_mode(&bin.join("busybox"), 0o755);
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    write(
        &path.join("config.json"),
        runtime_config(args).to_string().as_bytes(),
    );
    path.to_owned()
}

/// A tool in `root` whose bundle runs `args`.
pub(crate) fn add_bundle_tool(root: &Path, name: &str, args: &[&str], more: &str) -> PathBuf {
    let directory = root.join(name);
    make_bundle(&directory.join("bundle"), args);
    let manifest = format!("name = {name:?}\n[run]\nbundle = \"bundle\"\n{more}");
    write(&directory.join("tool.toml"), manifest.as_bytes());
    directory
}
