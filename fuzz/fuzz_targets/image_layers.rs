//! Whatever layers say of entries, nothing outside of the root file system is made, changed or
//! linked into it, and nothing in it is a device or gives rights.
//!
//! Entries are made of few names, so that they meet each other: as files and directories, through
//! symlinks, and in whiteouts.
#![no_main]

use std::env;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use axo_image::{ImageError, bounds, fuzzing};
use axocoatl_fuzz::{MAX_UNPACKED_BYTES, entries, told_shortly, with_store};
use tar::{EntryType, Header};

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
    // From a root file system in staging to the store.
    "../../..",
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

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let all: Vec<&[u8]> = bytes.chunks_exact(ENTRY).collect();
    let layers: Vec<_> = all.chunk_by(|_, next| next[0] < 0x80).map(layer).collect();
    with_store(|store| {
        let secret = store.root().join("secret");
        fs::write(&secret, "canary").expect("a file");
        let before = entries(store.root());
        let outside = fs::metadata(&secret).expect("it is there");
        fuzzing::unpack(store, &layers, |root, unpacked| {
            look(root, unpacked, &outside)
        })
        .expect("the disk works");
        assert_eq!(fs::read(&secret).expect("it is there"), b"canary");
        assert_eq!(entries(store.root()), before);
        assert!(entries(store.root().join("staging")).is_empty());
    });
});

fn look(root: &Path, unpacked: Result<(), ImageError>, outside: &Metadata) {
    match unpacked {
        Ok(()) => {
            let mounts = ["proc", "sys", "dev", "tmp"].map(|name| root.join(name));
            assert!(
                mounts
                    .iter()
                    .all(|path| path.is_dir() && !path.is_symlink())
            );
        }
        Err(error) => told_shortly(&error),
    }
    if env::set_current_dir(root).is_ok() {
        assert!(bytes_here(0, outside) <= MAX_UNPACKED_BYTES);
    }
    env::set_current_dir("/").expect("it is there");
}

/// Bytes of all files below the working directory, each of which must be one that an image may
/// have. Whole paths may be longer than any system call takes.
fn bytes_here(depth: usize, outside: &Metadata) -> u64 {
    assert!(depth <= bounds::MAX_DEPTH);
    let mut bytes = 0;
    for name in entries(".") {
        let metadata = fs::symlink_metadata(&name).expect("it is there");
        let kind = metadata.file_type();
        let is_known = kind.is_file() || kind.is_dir() || kind.is_symlink();
        assert!(is_known, "{name} is {kind:?}");
        assert!(kind.is_symlink() || metadata.mode() & 0o6000 == 0, "{name}");
        let same = (metadata.dev(), metadata.ino()) == (outside.dev(), outside.ino());
        assert!(!same, "{name} is a file outside");
        if kind.is_dir() {
            env::set_current_dir(&name).expect("it is there");
            bytes += bytes_here(depth + 1, outside);
            env::set_current_dir("..").expect("it is there");
        } else if kind.is_file() {
            // Each of its names has a part.
            bytes += metadata.len() / metadata.nlink();
        }
    }
    bytes
}

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
