//! Kernels, real and made up.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::testing::{RELEASE, bzimage, kernel, kernel_package, module, package};

/// The order in which the modules of `kernel_package` can be loaded.
const ORDER: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "overlay",
];

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, bytes: &[u8]) -> Result<Kernel, KernelError> {
        read(&self.file("kernel", bytes), None)
    }
}

fn names(kernel: &Kernel) -> Vec<&str> {
    kernel.modules.iter().map(|module| &*module.name).collect()
}

fn said(result: Result<Kernel, KernelError>) -> String {
    result.map(|kernel| kernel.release).unwrap_err().to_string()
}

#[test]
fn debians_cloud_kernel_is_taken_apart() {
    let path = std::env::var_os("AXO_KERNEL_PACKAGE").expect(
        "AXO_KERNEL_PACKAGE names no Debian package of a kernel; fetch one: apt-get download \
         $(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p')",
    );
    let path = PathBuf::from(path);
    let kernel = read(&path, None).unwrap();
    assert!(
        kernel.release.ends_with("-cloud-amd64"),
        "{}",
        kernel.release
    );
    assert!(kernel.elf.len() > 20 << 20);
    let names = names(&kernel);
    let at = |name| names.iter().position(|other| *other == name).unwrap();
    for pair in ORDER.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{names:?}");
    }
    at("squashfs");
    // Nothing is loaded before what it depends on, and nothing is loaded twice.
    let mut loaded = BTreeSet::new();
    for module in &kernel.modules {
        for needed in modinfo::ModInfo::of(&module.bytes).unwrap().depends {
            assert!(loaded.contains(&needed), "{needed} before {}", module.name);
        }
        assert!(loaded.insert(module.name.clone()));
    }
    // Cut anywhere, it is refused.
    let whole = std::fs::read(&path).unwrap();
    let home = Home::new();
    for part in [1, 2, 3] {
        let said = said(home.read(&whole[..whole.len() / 4 * part]));
        assert!(said.contains("was it fetched whole?"), "{part}/4: {said}");
    }
}

#[test]
fn a_package_has_the_modules_in_the_order_of_loading() {
    let home = Home::new();
    let found = home.read(&kernel_package(RELEASE)).unwrap();
    assert_eq!(found.release, RELEASE);
    assert_eq!(found.elf, kernel(RELEASE));
    assert_eq!(names(&found), ORDER);
}

#[test]
fn a_bare_kernel_comes_with_its_modules_in_a_directory_or_a_package() {
    let home = Home::new();
    for bare in [kernel(RELEASE), bzimage(&kernel(RELEASE))] {
        let bare = home.file("vmlinux", &bare);
        assert!(said(read(&bare, None)).contains("give its modules too"));
        let package = home.file("package.deb", &kernel_package(RELEASE));
        assert_eq!(names(&read(&bare, Some(&package)).unwrap()), ORDER);
        let all = ORDER.map(|name| (name, module(RELEASE, "")));
        for (name, bytes) in &all {
            let packed = zstd::encode_all(&bytes[..], 1).unwrap();
            home.file(&format!("modules/kernel/{name}.ko.zst"), &packed);
        }
        home.file(
            "modules/modules.builtin",
            b"kernel/fs/squashfs/squashfs.ko\n",
        );
        // As distributions have: a link to somewhere else, which is no module's place.
        let _ = std::os::unix::fs::symlink("/", home.0.path().join("modules/build"));
        let found = read(&bare, Some(&home.0.path().join("modules"))).unwrap();
        // These ones depend on nothing.
        assert_eq!(found.modules.len(), 5);
        assert_eq!(found.modules[0].bytes, module(RELEASE, ""));
    }
}

#[test]
fn what_a_kernel_lacks_is_named() {
    let home = Home::new();
    let image = bzimage(&kernel(RELEASE));
    let lib = |path: &str| format!("usr/lib/modules/{RELEASE}/{path}");
    let (blk, builtin) = (lib("kernel/virtio_blk.ko"), lib("modules.builtin"));
    let all = ORDER.map(|name| format!("kernel/{name}.ko\n")).concat();
    let without = all.replace("kernel/virtio_blk.ko\n", "");
    let depends = module(RELEASE, "virtio,secret_sauce");
    for (built_in, module, lacks) in [
        (&without, None, "no squashfs, virtio_blk,"),
        (&without, Some(&depends), "no squashfs,"),
        (
            &format!("{without}a/squashfs.ko"),
            Some(&depends),
            "no secret_sauce,",
        ),
    ] {
        let mut files = vec![
            ("boot/vmlinuz-x", &image[..]),
            (&builtin, built_in.as_bytes()),
        ];
        files.extend(module.map(|module| (&*blk, &module[..])));
        let said = said(home.read(&package(&files)));
        assert!(said.contains(lacks), "{lacks}: {said}");
    }
    let foreign = module("5.10.0-other", "");
    let files = [("boot/vmlinuz-x", &image[..]), (&blk, &foreign)];
    assert!(said(home.read(&package(&files))).contains("is for kernel 5.10.0-other"));
}

#[test]
fn modules_that_depend_on_each_other_or_on_very_many_end() {
    let home = Home::new();
    let image = bzimage(&kernel(RELEASE));
    let lib = |path: &str| format!("lib/modules/{RELEASE}/{path}");
    let built_in = ORDER.map(|name| format!("{name}.ko\n")).concat();
    let built_in = built_in.replace("overlay.ko\n", "squashfs.ko\n");
    let with = |modules: &[(String, Vec<u8>)]| {
        let builtin = lib("modules.builtin");
        let mut files = vec![
            ("boot/vmlinuz-x", &image[..]),
            (&builtin, built_in.as_bytes()),
        ];
        files.extend(modules.iter().map(|(path, bytes)| (&**path, &**bytes)));
        home.read(&package(&files))
    };
    let circle = [
        (lib("overlay.ko"), module(RELEASE, "other")),
        (lib("other.ko"), module(RELEASE, "overlay")),
    ];
    assert_eq!(names(&with(&circle).unwrap()), ["other", "overlay"]);
    let many: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
    let many = [(lib("overlay.ko"), module(RELEASE, &many.join(",")))];
    assert!(said(with(&many)).contains("too many"));
}

#[test]
fn what_is_no_kernel_is_refused() {
    let home = Home::new();
    let mut arm = kernel(RELEASE);
    arm[18] = 183;
    let mut outside = kernel(RELEASE);
    outside[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut segments = kernel(RELEASE);
    segments[32..40].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let object = module(RELEASE, "");
    let silent = kernel("");
    assert!(said(read(home.0.path(), None)).contains("it is a directory"));
    let nothing = package(&[("usr/share/doc/x", b"x")]);
    let two = package(&[("boot/vmlinuz-1", b"x"), ("boot/vmlinuz-2", b"x")]);
    for (bytes, problem) in [
        (&arm[..], "not for x86-64"),
        (&outside, "segment"),
        (&segments, "segment"),
        (&object, "cannot be executed"),
        (&silent, "which release"),
        (&nothing, "no boot/vmlinuz-"),
        (&two, "more than one kernel"),
        (b"", "neither an ELF nor a bzImage"),
        (b"\x7fELF", "no 64-bit"),
        (&[0; 2000], "neither an ELF nor a bzImage"),
    ] {
        let said = said(home.read(bytes));
        assert!(said.contains(problem), "{problem}: {said}");
    }
}

#[test]
fn every_cut_of_a_package_is_refused() {
    let home = Home::new();
    let whole = kernel_package(RELEASE);
    for end in (0..whole.len() - 2).step_by(97) {
        assert!(
            home.read(&whole[..end]).is_err(),
            "{end} of {}",
            whole.len()
        );
    }
}

#[test]
fn bombs_cost_little() {
    let home = Home::new();
    // A kernel, and a module, that unpack to more than they may have.
    let zeros = std::io::Read::take(std::io::repeat(0), MAX_MODULE_BYTES + 1);
    let bomb = zstd::encode_all(zeros, 1).unwrap();
    assert!(bomb.len() < 100_000);
    let image = bzimage(&kernel(RELEASE));
    let path = format!("lib/modules/{RELEASE}/overlay.ko.zst");
    let files = [("boot/vmlinuz-x", &image[..]), (&path, &bomb)];
    assert!(said(home.read(&package(&files))).contains("passes the limit"));
    let zeros = std::io::Read::take(std::io::repeat(0), MAX_IMAGE_BYTES + 1);
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(MAX_IMAGE_BYTES + 1);
    tar.append_data(&mut header, "boot/vmlinuz-x", zeros)
        .unwrap();
    let data = tar.into_inner().unwrap().finish().unwrap();
    let bomb = crate::testing::archive(&[("data.tar.zst", &data)]);
    assert!(said(home.read(&bomb)).contains("passes the limit"));
}

#[test]
fn no_changed_byte_gets_past_the_checks_or_ends_us() {
    let home = Home::new();
    let whole = kernel_package(RELEASE);
    for at in (0..whole.len()).step_by(23) {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        // Some are not seen: times and owners, which count for nothing, and bytes of the image.
        if let Ok(kernel) = home.read(&changed) {
            assert_eq!(names(&kernel).len(), ORDER.len(), "{at}");
        }
    }
    for bytes in [kernel(RELEASE), module(RELEASE, "a,b")] {
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = elf::check_kernel("changed", &changed);
                let _ = modinfo::ModInfo::of(&changed);
            }
        }
    }
}
