//! Archives, read again.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};

use cpio::newc::Reader;

use super::*;
use crate::setup::{self, FirecrackerSource, KernelSource};
use crate::testing::{RELEASE, kernel_package, program};

/// An installation in `data`.
async fn installed(data: &Path) -> Artifacts {
    let files = tempfile::tempdir().unwrap();
    let firecracker = program(files.path(), "echo Firecracker v1.14.4");
    let jailer = program(files.path(), "echo Jailer v1.14.4");
    let kernel = files.path().join("kernel.deb");
    std::fs::write(&kernel, kernel_package(RELEASE)).unwrap();
    let firecracker = FirecrackerSource::Given {
        firecracker,
        jailer,
    };
    let modules = None;
    let kernel = KernelSource::Given { kernel, modules };
    setup::install(data, &firecracker, &kernel).await.unwrap()
}

/// Mode, device and content.
type Entry = (u32, (u32, u32), Vec<u8>);

fn entries(file: &File) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut archive = BufReader::new(file);
    loop {
        let mut reader = Reader::new(archive).unwrap();
        let entry = reader.entry().clone();
        if entry.is_trailer() {
            return entries;
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let device = (entry.rdev_major(), entry.rdev_minor());
        entries.insert(entry.name().to_owned(), (entry.mode(), device, bytes));
        archive = reader.finish().unwrap();
    }
}

#[tokio::test]
async fn a_guest_finds_what_it_boots_with() {
    let data = tempfile::tempdir().unwrap();
    let artifacts = installed(data.path()).await;
    let made = initramfs(data.path(), &artifacts).unwrap();
    let entries = entries(&made.file);
    let agent = axo_helpers::guest_agent().bytes();
    assert!(entries["init"] == (0o100_755, (0, 0), agent.to_vec()));
    let runner = axo_helpers::runner().bytes();
    assert!(entries["axo-runner"] == (0o100_755, (0, 0), runner.to_vec()));
    assert_eq!(entries["dev/console"], (0o20_600, (5, 1), Vec::new()));
    assert_eq!(entries["tmp"].0, 0o41_777);
    for directory in ["proc", "sys", "dev", "run", "image", "files"] {
        assert_eq!(entries[directory].0, 0o40_755, "{directory}");
    }
    let modules: Vec<_> = entries
        .keys()
        .filter(|name| name.starts_with("modules/"))
        .collect();
    assert_eq!(modules.len(), artifacts.modules.len());
    assert_eq!(modules[0], "modules/00-virtio_ring.ko");
    for (name, path) in modules.iter().zip(&artifacts.modules) {
        assert_eq!(entries[*name].2, std::fs::read(path).unwrap());
    }
}

#[tokio::test]
async fn it_is_made_once_for_the_same_parts() {
    let data = tempfile::tempdir().unwrap();
    let first = installed(data.path()).await;
    let second = installed(data.path()).await;
    assert_ne!(first.kernel, second.kernel);
    let made = [&first, &second].map(|artifacts| initramfs(data.path(), artifacts).unwrap());
    assert_eq!(made[0].digest, made[1].digest);
    let directory = Places::of(data.path()).initramfs();
    let expected = [name(&made[0].digest), name(&made[0].digest) + ".lock"];
    assert_eq!(
        files::names(&directory).unwrap(),
        expected.map(std::ffi::OsString::from)
    );
}
