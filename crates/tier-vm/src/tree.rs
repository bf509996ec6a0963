//! The digest of a directory tree: what a disk of it is called. All that a disk shows of a tree is in
//! it: names, contents, and of every entry, the root too, mode, owner and time.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;

/// How deep directories may lie in one another, as on a disk.
const MAX_DEPTH: u32 = 128;
/// Most entries of a tree, as on a disk.
const MAX_ENTRIES: u64 = 2_000_000;
/// Most bytes of its files, as on a disk.
const MAX_BYTES: u64 = 16 << 30;

/// SHA-256 of the tree, as `sha256:<hex>`. Links are not followed.
///
/// # Errors
/// If something cannot be read, or there is too much of it.
pub(crate) fn digest(tree: BorrowedFd<'_>) -> io::Result<String> {
    let mut hash = Hash {
        sha: Sha256::new(),
        entries: 0,
        bytes: 0,
    };
    let root = fstat(tree)?;
    hash.attributes(&root);
    // Another directory's disk is another's, even if it is alike: who may write there could swap what
    // is in it while it is packed.
    for number in [root.st_dev, root.st_ino] {
        hash.sha.update(number.to_be_bytes());
    }
    hash.directory(tree, 0)?;
    Ok(format!("sha256:{}", hex(hash.sha)))
}

struct Hash {
    sha: Sha256,
    entries: u64,
    bytes: u64,
}

impl Hash {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "directories lie deeper than {MAX_DEPTH} in one another"
            )));
        }
        let opened = open(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    return Err(io::Error::other(format!(
                        "there are more than {MAX_ENTRIES} files"
                    )));
                }
                names.push(name);
            }
        }
        // The order in which a file system tells them is its own.
        names.sort();
        for name in names {
            let stat = statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.part(name.as_bytes());
            self.attributes(&stat);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY;
                    let child = open(opened.as_fd(), name.as_c_str(), flags)?;
                    self.directory(child.as_fd(), depth + 1)?;
                }
                FileType::RegularFile => {
                    // It may have become something else by now: what would wait is not waited for.
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                    self.content(open(opened.as_fd(), name.as_c_str(), flags)?.into())?;
                }
                FileType::Symlink => {
                    let target = readlinkat(&opened, &name, Vec::new())?;
                    self.part(target.as_bytes());
                }
                // No disk has it.
                _ => {}
            }
        }
        // The end of a directory is no name.
        self.part(b"");
        Ok(())
    }

    fn content(&mut self, mut file: File) -> io::Result<()> {
        let mut one = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => {
                    one.update(&buffer[..read]);
                    self.bytes += read as u64;
                }
            }
            // Of a file that grows while it is read, too.
            if self.bytes > MAX_BYTES {
                return Err(io::Error::other(format!(
                    "its files have more than {MAX_BYTES} bytes"
                )));
            }
        }
        self.sha.update(one.finalize());
        Ok(())
    }

    fn attributes(&mut self, stat: &Stat) {
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            self.sha.update(number.to_be_bytes());
        }
        self.sha.update(stat.st_mtime.to_be_bytes());
    }

    /// Bytes, with how many they are.
    fn part(&mut self, bytes: &[u8]) {
        self.sha.update((bytes.len() as u64).to_be_bytes());
        self.sha.update(bytes);
    }
}

fn open(at: impl AsFd, name: impl rustix::path::Arg, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn of(path: &Path) -> String {
        digest(File::open(path).unwrap().as_fd()).unwrap()
    }

    #[test]
    fn every_change_of_a_tree_is_another_digest() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/f"), "one").unwrap();
        let mut seen = vec![of(home.path())];
        assert_eq!(seen[0], of(home.path()), "it is the same twice");
        let changes: [&dyn Fn(); 8] = [
            &|| std::fs::write(at("d/f"), "two").unwrap(),
            &|| std::fs::rename(at("d/f"), at("d/g")).unwrap(),
            &|| std::fs::rename(at("d/g"), at("g")).unwrap(),
            &|| symlink("g", at("l")).unwrap(),
            &|| {
                std::fs::remove_file(at("l")).unwrap();
                symlink("d", at("l")).unwrap();
            },
            &|| {
                let mode = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(at("g"), mode).unwrap();
            },
            &|| {
                let file = File::options().append(true).open(at("g")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            },
            &|| {
                let mode = std::fs::Permissions::from_mode(0o711);
                std::fs::set_permissions(home.path(), mode).unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            change();
            let now = of(home.path());
            assert!(!seen.contains(&now), "change {number} is not seen");
            seen.push(now);
        }
    }

    #[test]
    fn nothing_waits_for_a_pipe() {
        let home = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, home.path().join("p"), mode).unwrap();
        of(home.path());
    }
}
