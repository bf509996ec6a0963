//! Images made by hand, and stores of their own.

use std::io::Write;
use std::path::{Path, PathBuf};

use axo_image::{
    Digest, Image, ImageError, Platform, Reference, Rootfs, Silent, Store, StoreOptions,
};
use serde_json::json;
use tar::{EntryType, Header};
use tempfile::TempDir;

/// A store in a directory of its own.
pub(crate) struct Home {
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

pub(crate) fn home() -> Home {
    home_with(StoreOptions::default())
}

pub(crate) fn home_with(options: StoreOptions) -> Home {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_with(&directory.path().join("store"), options).unwrap();
    Home { store, directory }
}

impl Home {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Imports layers as they are.
    pub(crate) fn import(&self, layers: &[Vec<u8>]) -> Result<Image, ImageError> {
        let layout = self.path(&uuid::Uuid::new_v4().to_string());
        make_layout(&layout, layers, &Made::default());
        self.store.import(&layout, None, &Silent)
    }

    /// Imports and unpacks layers.
    pub(crate) fn unpack(&self, layers: &[Vec<u8>]) -> Result<Rootfs, ImageError> {
        let image = self.import(layers)?;
        self.store.rootfs(&image, &Silent)
    }

    /// Nothing is under way, and nothing half done.
    pub(crate) fn assert_clean(&self) {
        for name in ["staging", "partial"] {
            assert_eq!(names(&self.store.root().join(name)), [""; 0], "{name}");
        }
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A tar, entry by entry, with whatever names.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
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
        header.set_uid(1234);
        header.set_gid(4321);
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

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, 0o644, target, b"")
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip_or_plain(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        std::io::copy(&mut flate2::read::MultiGzDecoder::new(bytes), &mut plain).unwrap();
        plain
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        zstd::decode_all(bytes).unwrap()
    } else {
        bytes.to_vec()
    }
}

/// What is special about a layout.
pub(crate) struct Made {
    pub(crate) platform: Platform,
    /// In place of the digests of what the layers hold.
    pub(crate) diff_ids: Option<Vec<Digest>>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            diff_ids: None,
        }
    }
}

/// Writes an OCI layout, and says the digest of its manifest.
pub(crate) fn make_layout(path: &Path, layers: &[Vec<u8>], made: &Made) -> Digest {
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest
    };
    let diff_ids = made.diff_ids.clone().unwrap_or_else(|| {
        // What is broken on purpose has no diff_id; any will do.
        layers
            .iter()
            .map(|layer| {
                let plain = std::panic::catch_unwind(|| gunzip_or_plain(layer));
                Digest::of(&plain.unwrap_or_default())
            })
            .collect()
    });
    let config = json!({
        "architecture": made.platform.architecture, "os": made.platform.os,
        "created": "2024-01-02T03:04:05Z",
        "config": { "Env": ["A=b"], "Cmd": ["sh"], "WorkingDir": "/w", "User": "1:2",
            "Labels": { "k": "v" } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": put(bytes), "size": bytes.len() })
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            let kind = if layer.starts_with(&[0x1f, 0x8b]) {
                "tar+gzip"
            } else {
                "tar"
            };
            descriptor(&format!("layer.v1.{kind}"), layer)
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config.as_bytes()), "layers": layers,
    })
    .to_string();
    let mut top = descriptor("manifest.v1+json", manifest.as_bytes());
    top["platform"] = json!({ "os": made.platform.os, "architecture": made.platform.architecture });
    let index = json!({ "schemaVersion": 2, "manifests": [top] }).to_string();
    std::fs::write(path.join("index.json"), index).unwrap();
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::of(manifest.as_bytes())
}

/// Imports a layout whose second layer is damaged, after the first was taken in.
pub(crate) fn refuse_import(home: &Home) {
    let layout = home.path("damaged");
    let layers = [
        Tar::new().file("good", "1").end(),
        Tar::new().file("bad", "1").end(),
    ];
    make_layout(&layout, &layers, &Made::default());
    let bad = layout
        .join("blobs/sha256")
        .join(Digest::of(&layers[1]).hex());
    std::fs::write(bad, "changed").unwrap();
    let error = home.store.import(&layout, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
}

/// Runs a program of the system to its end.
#[expect(
    clippy::disallowed_methods,
    reason = "tests build images with the system's programs"
)]
pub(crate) fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install {package}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The error with all its causes, as a front end shows it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
