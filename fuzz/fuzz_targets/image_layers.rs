//! Whatever layers say of entries, nothing outside of the root file system is made, changed or
//! linked into it, and nothing in it is a device or gives rights.
//!
//! Entries are made of few names, so that they meet each other: as files and directories, through
//! symlinks, and in whiteouts.
#![no_main]

use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use axo_image::{Store, StoreOptions, bounds, fuzzing};
use tar::{EntryType, Header};

const LIMIT: u64 = 1 << 20;

const PARTS: [&str; 19] = [
    "a",
    "b",
    "c",
    "d",
    "",
    ".",
    "..",
    "...",
    ".wh.a",
    ".wh.b",
    ".wh..wh..opq",
    ".wh..",
    "proc",
    "tmp",
    "etc",
    // From a root file system in staging.
    "../../../../outside",
    "outside",
    "secret",
    "a name that takes so much room that no header of a tar has enough of it for more than one of them in a path",
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

/// Kind, path, target, mode, size.
type Raw<'a> = (u8, &'a [u8], &'a [u8], u32, u8);

libfuzzer_sys::fuzz_target!(|layers: [Vec<Raw<'_>>; 2]| {
    let home = tempfile::tempdir().expect("a directory");
    let outside = home.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "canary").expect("a file");
    let secret = fs::metadata(outside.join("secret")).expect("it is there");
    let options = StoreOptions {
        max_unpacked_bytes: LIMIT,
        max_files: 1000,
    };
    let store = Store::open_with(&home.path().join("store"), options).expect("a store");
    fuzzing::unpack(
        &store,
        &layers.map(|entries| layer(&entries)),
        |root, unpacked| {
            if let Err(error) = &unpacked {
                axocoatl_fuzz::told_shortly(error);
            }
            if unpacked.is_ok() {
                assert!(
                    ["proc", "sys", "dev", "tmp"]
                        .iter()
                        .all(|name| is_directory(&root.join(name)))
                );
            }
            if root.exists() {
                assert!(bytes_below(root, 0, &secret) <= LIMIT);
            }
        },
    )
    .expect("the disk works");
    assert_eq!(
        fs::read(outside.join("secret")).expect("it is there"),
        b"canary"
    );
    for (directory, entries) in [(outside, 1), (home.path().to_owned(), 2)] {
        assert_eq!(
            fs::read_dir(directory).expect("a directory").count(),
            entries
        );
    }
    assert_eq!(
        fs::read_dir(home.path().join("store/staging"))
            .expect("a directory")
            .count(),
        0
    );
});

fn layer(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, target, mode, size) in entries {
        let (name, target) = (path(name), path(target));
        let data = vec![b'x'; usize::from(*size) * 16];
        long(&mut tar, EntryType::GNULongName, &name);
        long(&mut tar, EntryType::GNULongLink, &target);
        let mut header = Header::new_gnu();
        let kind = KINDS.get(usize::from(*kind)).copied();
        header.set_entry_type(kind.unwrap_or(EntryType::Regular));
        header.set_mode(*mode);
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

fn path(parts: &[u8]) -> String {
    let part = |byte: &u8| PARTS[usize::from(*byte) % PARTS.len()];
    parts
        .iter()
        .take(bounds::MAX_DEPTH + 2)
        .map(part)
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
