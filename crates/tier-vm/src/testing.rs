//! What tests make: kernels, modules, packages and programs, as small as they can be.

use std::path::{Path, PathBuf};

use crate::files;

/// The release of the kernels and modules here.
pub(crate) const RELEASE: &str = "6.1.0-test";

/// A shell script that can be started.
pub(crate) fn program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join(uuid::Uuid::new_v4().to_string());
    files::write_new(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
    path
}

/// An ELF with one segment, which holds the banner of a kernel.
pub(crate) fn kernel(release: &str) -> Vec<u8> {
    let content = format!("Linux version %s (%s)\0Linux version {release} (debian)\0");
    let mut elf = header(2, 64, 1, 0, 0);
    for word in [
        0x5_0000_0001,
        120,
        0,
        0,
        content.len() as u64,
        content.len() as u64,
        4096,
    ] {
        elf.extend(u64::to_le_bytes(word));
    }
    elf.extend(content.bytes());
    elf
}

/// A kernel in a bzImage, not compressed further than that.
pub(crate) fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut payload = zstd::encode_all(kernel, 1).unwrap();
    payload.extend(u32::try_from(kernel.len()).unwrap().to_le_bytes());
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x1fe..0x206].copy_from_slice(b"\x55\xaa\xeb\x6aHdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    let length = u32::try_from(payload.len()).unwrap();
    image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
    image.extend(payload);
    image
}

/// A module that depends on others.
pub(crate) fn module(release: &str, depends: &str) -> Vec<u8> {
    let mut info = format!("depends={depends}\0vermagic={release} SMP mod_unload \0").into_bytes();
    info.resize(info.len().next_multiple_of(8), 0);
    let names = b"\0.modinfo\0.shstrtab\0\0\0\0\0";
    let (info_at, names_at) = (64, 64 + info.len() as u64);
    let mut elf = header(1, 0, 0, names_at + names.len() as u64, 3);
    elf.extend(&info);
    elf.extend(names);
    elf.extend([0; 64]);
    for (name, kind, at, length) in [(1, 1, info_at, info.len()), (10, 3, names_at, names.len())] {
        elf.extend(u64::to_le_bytes(name | (kind << 32)));
        for word in [0, 0, at, length as u64, 0, 1, 0] {
            elf.extend(u64::to_le_bytes(word));
        }
    }
    elf
}

fn header(kind: u16, segments: u64, count: u16, sections: u64, section_count: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(kind.to_le_bytes());
    header.extend(62_u16.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    for word in [0, segments, sections] {
        header.extend(u64::to_le_bytes(word));
    }
    header.extend(0_u32.to_le_bytes());
    let names = section_count.saturating_sub(1);
    for half in [64, 56, count, 64, section_count, names] {
        header.extend(u16::to_le_bytes(half));
    }
    header
}

/// A Debian package of files.
pub(crate) fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, format!("./{path}"), *bytes)
            .unwrap();
    }
    let data = zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
    archive(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.zst", &data),
    ])
}

/// What `ar` makes.
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        archive.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}", 0, 0, 0, 100_644).bytes());
        archive.extend(format!("{:<10}`\n", bytes.len()).bytes());
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(2), b'\n');
    }
    archive
}

/// The package of a kernel that has what a guest needs, as modules or built in.
pub(crate) fn kernel_package(release: &str) -> Vec<u8> {
    let image = bzimage(&kernel(release));
    let long = "a-directory-with-a-name-so-long-that-the-path-does-not-fit-into-a-header";
    let files = [
        (
            "kernel/drivers/block/virtio_blk.ko",
            module(release, "virtio,virtio_ring"),
        ),
        ("kernel/drivers/virtio/virtio.ko", module(release, "")),
        (
            "kernel/drivers/virtio/virtio-mmio.ko",
            module(release, "virtio_ring,virtio"),
        ),
        ("kernel/drivers/virtio/virtio_ring.ko", module(release, "")),
        ("kernel/fs/overlayfs/overlay.ko", module(release, "")),
        ("kernel/fs/unwanted.ko", b"never looked at".to_vec()),
        ("kernel/net/vmw_vsock/vsock.ko", module(release, "")),
        (
            &format!("kernel/net/{long}/{long}/vmw_vsock_virtio_transport.ko"),
            module(release, "vmw_vsock_virtio_transport_common,vsock,virtio"),
        ),
        (
            "kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko",
            module(release, "vsock"),
        ),
        (
            "modules.builtin",
            b"kernel/fs/squashfs/squashfs.ko\n".to_vec(),
        ),
    ];
    let mut all = vec![(format!("boot/vmlinuz-{release}"), image)];
    all.extend(files.map(|(path, bytes)| (format!("lib/modules/{release}/{path}"), bytes)));
    let all: Vec<(&str, &[u8])> = all
        .iter()
        .map(|(path, bytes)| (&**path, &**bytes))
        .collect();
    package(&all)
}
