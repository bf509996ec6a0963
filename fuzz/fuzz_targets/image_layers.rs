//! Whatever layers say of entries, nothing outside of the root file system is made, changed or
//! linked into it, and nothing in it is a device or gives rights.
//!
//! Entries are made of few names, so that they meet each other: as files and directories, through
//! symlinks, and in whiteouts.
#![no_main]

use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use axo_image::{Store, StoreOptions, bounds, fuzzing};
use tar::{EntryType, Header};

const LIMIT: u64 = 1 << 20;

const PARTS: [&str; 16] = [
    "a",
    "b",
    "c",
    "",
    ".",
    "..",
    ".wh.a",
    ".wh.b",
    ".wh..wh..opq",
    "proc",
    "tmp",
    // From a root file system in staging.
    "../../../../outside",
    "secret",
    "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d",
    "a name that takes so much room that no header of a tar has enough of it for two of them in a path",
    "/",
];

const KINDS: [EntryType; 8] = [
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Fifo,
    EntryType::Char,
    EntryType::XGlobalHeader,
    EntryType::GNUSparse,
];

/// Kind, two bytes of name, two of target, two of mode, and size. The upper half of the kind begins
/// another layer.
const ENTRY: usize = 8;

/// One store for all runs. Its directory is left: the system's temporary files are cleared anyway.
static HOME: LazyLock<(PathBuf, Store)> = LazyLock::new(|| {
    let home = tempfile::tempdir().expect("a directory").keep();
    fs::create_dir(home.join("outside")).expect("a directory");
    fs::write(home.join("outside/secret"), "canary").expect("a file");
    let options = StoreOptions {
        max_unpacked_bytes: LIMIT,
        max_files: 1000,
    };
    let store = Store::open_with(&home.join("store"), options).expect("a store");
    (home, store)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (home, store) = &*HOME;
    let outside = home.join("outside");
    let secret = fs::metadata(outside.join("secret")).expect("it is there");
    let entries: Vec<&[u8]> = bytes.chunks_exact(ENTRY).collect();
    let layers = entries.chunk_by(|_, next| next[0] < 0x80).map(layer);
    fuzzing::unpack(store, &layers.collect::<Vec<_>>(), |root, unpacked| {
        match &unpacked {
            Ok(()) => {
                let mounts = ["proc", "sys", "dev", "tmp"].map(|name| root.join(name));
                assert!(mounts.iter().all(|path| is_directory(path)));
            }
            Err(error) => axocoatl_fuzz::told_shortly(error),
        }
        if root.exists() {
            assert!(bytes_below(root, 0, &secret) <= LIMIT);
        }
    })
    .expect("the disk works");
    let secret = fs::read(outside.join("secret")).expect("it is there");
    assert_eq!(secret, b"canary");
    for (directory, entries) in [
        (outside, 1),
        (home.clone(), 2),
        (home.join("store/staging"), 0),
    ] {
        let found = fs::read_dir(&directory).expect("a directory").count();
        assert_eq!(found, entries, "{}", directory.display());
    }
});

fn layer(entries: &[&[u8]]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let (name, target) = (path(&entry[1..3]), path(&entry[3..5]));
        let data = vec![b'x'; usize::from(entry[7]) * 16];
        long(&mut tar, EntryType::GNULongName, &name);
        long(&mut tar, EntryType::GNULongLink, &target);
        let mut header = Header::new_gnu();
        header.set_entry_type(KINDS[usize::from(entry[0]) % KINDS.len()]);
        header.set_mode(u32::from_le_bytes([entry[5], entry[6], 0, 0]));
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(data.len() as u64);
        let raw = header.as_gnu_mut().expect("made as such");
        set(&mut raw.name, &name);
        set(&mut raw.linkname, &target);
        header.set_cksum();
        tar.append(&header, &*data).expect("memory");
    }
    tar.into_inner().expect("memory")
}

/// Four bits choose a part.
fn path(parts: &[u8]) -> String {
    let halves = parts.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves
        .map(|part| PARTS[usize::from(part)])
        .collect::<Vec<_>>()
        .join("/")
}

/// What does not fit into a header stands before it.
fn long(tar: &mut tar::Builder<Vec<u8>>, kind: EntryType, text: &str) {
    if text.len() > 100 {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text.as_bytes()).expect("memory");
    }
}

fn set(field: &mut [u8], text: &str) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text.as_bytes()[..count]);
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Bytes of all files, each of which must be one that an image may have.
fn bytes_below(directory: &Path, depth: usize, outside: &Metadata) -> u64 {
    assert!(depth <= bounds::MAX_DEPTH);
    // Whole paths may be longer than any system call takes.
    let open = File::open(directory).expect("a directory");
    let here = Path::new("/proc/self/fd").join(open.as_raw_fd().to_string());
    let mut bytes = 0;
    for entry in fs::read_dir(&here).expect("a directory") {
        let path = here.join(entry.expect("an entry").file_name());
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let kind = metadata.file_type();
        assert!(
            kind.is_file() || kind.is_dir() || kind.is_symlink(),
            "{kind:?}"
        );
        assert!(kind.is_symlink() || metadata.mode() & 0o6000 == 0);
        assert_ne!(
            (metadata.dev(), metadata.ino()),
            (outside.dev(), outside.ino())
        );
        if kind.is_dir() {
            bytes += bytes_below(&path, depth + 1, outside);
        } else if kind.is_file() {
            // Each of its names has a part.
            bytes += metadata.len() / metadata.nlink();
        }
    }
    bytes
}
