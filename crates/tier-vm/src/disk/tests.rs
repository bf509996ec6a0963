//! Disks, looked into with squashfs-tools.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::tree::{LIMITS, Limits};
use super::*;

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What somebody packed, or a disk that was unpacked again: of each path kind, permissions, owner, time
/// and content.
type Listing = BTreeMap<String, (char, u32, u32, u32, i64, Vec<u8>)>;

fn listing(root: &Path) -> Listing {
    fn walk(root: &Path, path: &Path, listing: &mut Listing) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let (kind, content) = if metadata.is_dir() {
                walk(root, &path, listing);
                ('d', Vec::new())
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                ('l', target.into_os_string().into_encoded_bytes())
            } else if metadata.is_file() {
                ('f', fs::read(&path).unwrap())
            } else {
                ('o', Vec::new())
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let mode = metadata.mode() & 0o7777;
            let (uid, gid, time) = (metadata.uid(), metadata.gid(), metadata.mtime());
            listing.insert(name.to_owned(), (kind, mode, uid, gid, time, content));
        }
    }
    let mut all = Listing::new();
    walk(root, root, &mut all);
    all
}

#[expect(
    clippy::disallowed_methods,
    reason = "what others make of a disk is asked of their programs"
)]
fn unpacked(disk: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let output = Command::new("unsquashfs")
        .args(["-no-progress", "-quiet", "-force", "-dest"])
        .args([to.path(), disk])
        .output()
        .expect("unsquashfs: install it: apt-get install squashfs-tools");
    assert!(output.status.success(), "{output:?}");
    to
}

struct Home {
    data: tempfile::TempDir,
    tree: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            tree: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn disk(&self) -> Result<File, DiskError> {
        let tree = File::open(self.tree.path()).unwrap();
        disk_of(self.data.path(), DIGEST, tree.as_fd())
    }

    fn path(&self) -> PathBuf {
        Places::of(self.data.path()).disks().join(name(DIGEST))
    }

    /// Packs it within limits, without keeping it.
    fn pack(&self, limits: &Limits) -> Result<u64, DiskError> {
        let tree = File::open(self.tree.path()).unwrap();
        let aside = crate::files::Aside::file(self.data.path())?;
        tree::pack(tree.as_fd(), &aside, limits)?;
        Ok(aside.file_of().metadata().unwrap().len())
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_tree_comes_out_of_the_disk_as_it_went_in() {
    let home = Home::new();
    let block = 128 << 10;
    fs::create_dir_all(home.at("a/b/c/empty")).unwrap();
    for (name, length) in [
        ("none", 0),
        ("one", 1),
        ("block", block),
        ("block-1", block - 1),
        ("block+1", block + 1),
        ("blocks", 5 * block + 77),
    ] {
        fs::write(home.at("a").join(name), noise(length)).unwrap();
    }
    // Compressible; all holes; and with a hole in it.
    fs::write(home.at("a/text"), "the same again ".repeat(60_000)).unwrap();
    fs::write(home.at("a/zeros"), vec![0; 3 * block]).unwrap();
    let hole = [noise(block), vec![0; 2 * block], noise(9)].concat();
    fs::write(home.at("a/b/hole"), hole).unwrap();
    fs::hard_link(home.at("a/blocks"), home.at("a/b/c/the same")).unwrap();
    fs::hard_link(home.at("a/blocks"), home.at("z")).unwrap();
    symlink("/etc/passwd", home.at("a/absolute")).unwrap();
    symlink("../../../nowhere", home.at("a/b/dangling")).unwrap();
    symlink("a", home.at("directory")).unwrap();
    for number in 0..3000 {
        let path = home.at(&format!("a/b/c/{}", "long".repeat(number % 60)));
        fs::write(path.with_added_extension(number.to_string()), [1, 2, 3]).unwrap();
    }
    let mode =
        |path, mode| fs::set_permissions(home.at(path), Permissions::from_mode(mode)).unwrap();
    mode("a/one", 0o600);
    mode("a/block", 0o751);
    mode("a/b", 0o1777);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(home.at("a/text"), Some(1000), Some(65534)).unwrap();
        std::os::unix::fs::lchown(home.at("a/absolute"), Some(4_000_000_000), None).unwrap();
    }
    let file = File::options().write(true).open(home.at("a/one")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400))
        .unwrap();

    let disk = home.disk().unwrap();
    let out = unpacked(&home.path());
    assert_eq!(listing(home.tree.path()), listing(out.path()));
    let metadata = disk.metadata().unwrap();
    assert_eq!(metadata.len() % 4096, 0);
    assert_eq!(metadata.mode() & 0o7777, 0o444);
    // Three names of 5 blocks of noise: stored once.
    assert!(metadata.len() < 2 << 20, "{}", metadata.len());
}

#[test]
fn what_gives_power_or_is_no_file_stays_out() {
    let home = Home::new();
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("dir", 0o7755)] {
        match name {
            "dir" => fs::create_dir(home.at(name)).unwrap(),
            _ => fs::write(home.at(name), name).unwrap(),
        }
        fs::set_permissions(home.at(name), Permissions::from_mode(mode)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(home.at("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    home.disk().unwrap();
    let out = unpacked(&home.path());
    let listing = listing(out.path());
    let modes: Vec<_> = listing
        .iter()
        .map(|(name, what)| (&**name, what.1))
        .collect();
    let expected = [
        ("dir", 0o1755),
        ("fifo", 0o400),
        ("sgid", 0o755),
        ("suid", 0o755),
    ];
    assert_eq!(modes, expected);
}

#[test]
fn a_disk_is_made_once_and_found_afterwards() {
    let home = Home::new();
    fs::write(home.at("file"), "first").unwrap();
    let first = home.disk().unwrap().metadata().unwrap();
    fs::write(home.at("file"), "second").unwrap();
    let second = home.disk().unwrap().metadata().unwrap();
    assert_eq!(first.ino(), second.ino());
    // The same tree makes the same disk.
    let before = fs::read(home.path()).unwrap();
    fs::remove_file(home.path()).unwrap();
    home.disk().unwrap();
    assert!(before != fs::read(home.path()).unwrap());
    fs::write(home.at("file"), "first").unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let make = || {
        File::open(home.at("file"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::remove_file(home.path()).unwrap();
        home.disk().unwrap();
        fs::read(home.path()).unwrap()
    };
    assert!(make() == make());
}

#[test]
fn a_name_that_is_no_digest_is_refused() {
    let home = Home::new();
    let tree = File::open(home.tree.path()).unwrap();
    for bad in ["", "../../etc/passwd", "sha256:0", &DIGEST.to_uppercase()] {
        let result = disk_of(home.data.path(), bad, tree.as_fd());
        assert!(matches!(result, Err(DiskError::Digest(_))), "{bad}");
    }
}

#[test]
fn limits_hold_and_nothing_is_left() {
    let home = Home::new();
    fs::write(home.at("a"), noise(60_000)).unwrap();
    fs::write(home.at("b"), noise(60_000)).unwrap();
    let limits = |bytes, entries| Limits {
        bytes,
        entries,
        path_bytes: LIMITS.path_bytes,
        owners: 2,
    };
    assert!(home.pack(&limits(120_000, 2)).is_ok());
    for (limits, unit) in [
        (limits(119_999, 2), "bytes"),
        (limits(120_000, 1), "entries"),
        (
            Limits {
                path_bytes: 1,
                ..LIMITS
            },
            "bytes of paths",
        ),
    ] {
        let error = home.pack(&limits).unwrap_err();
        assert!(error.to_string().contains(unit), "{error}");
    }
    let owners = Limits {
        owners: 0,
        ..LIMITS
    };
    assert!(
        home.pack(&owners)
            .unwrap_err()
            .to_string()
            .contains("owners")
    );
    // Many names of one file cost what they seem to.
    for name in ["c", "d"] {
        fs::hard_link(home.at("a"), home.at(name)).unwrap();
    }
    assert!(home.pack(&limits(200_000, 9)).is_err());
    assert!(home.pack(&limits(240_000, 9)).is_ok());
    let deep = vec!["deep"; 200].join("/");
    fs::create_dir_all(home.at(&deep)).unwrap();
    assert!(
        home.pack(&LIMITS)
            .unwrap_err()
            .to_string()
            .contains("deeper than 128")
    );
    assert_eq!(fs::read_dir(home.data.path()).unwrap().count(), 0);
}

#[test]
fn a_tree_that_changes_while_it_is_packed_has_no_disk() {
    let home = Home::new();
    fs::write(home.at("a"), "one").unwrap();
    let tree = File::open(home.tree.path()).unwrap();
    let (data, tree) = (home.data.path(), tree.as_fd());
    let digest = crate::tree::digest(tree).unwrap();
    let changed = |digest: &str| {
        fs::write(home.at("a"), "another").unwrap();
        still(digest, &crate::tree::digest(tree).unwrap())
    };
    let result = packed(data, &digest, tree, changed);
    assert!(matches!(result, Err(DiskError::Changed)), "{result:?}");
    let disks = Places::of(data).disks();
    let left = crate::files::names(&disks).unwrap();
    assert!(
        left.iter()
            .all(|name| name.to_string_lossy().ends_with(".lock")),
        "{left:?}"
    );
    // It stays what it is now.
    let (now, _) = disk_of_changing(data, tree).unwrap();
    assert_ne!(now, digest);
    // What was packed once is found, and the tree not packed again.
    let never = |_: &str| panic!("it is packed again");
    packed(data, &now, tree, never).unwrap();
}
