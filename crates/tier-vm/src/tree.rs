//! The digest of a directory tree: what a disk of it is called. All that a disk shows of a tree is in
//! it: names, contents, and of every entry, the root too, mode, owner and time.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::disk::DiskError;
use crate::disk::tree::{LIMITS, MAX_DEPTH, failed, too_deep, too_large};

/// SHA-256 of the tree, as `sha256:<hex>`. Links are not followed.
///
/// # Errors
/// [`DiskError::Tree`] and [`DiskError::TooLarge`].
pub(crate) fn digest(tree: BorrowedFd<'_>) -> Result<String, DiskError> {
    let mut hash = Hash {
        sha: Sha256::new(),
        entries: 0,
        bytes: 0,
    };
    let root = fstat(tree).map_err(|e| failed(Path::new("."), e))?;
    hash.attributes(&root);
    // Another directory's disk is another's, even if it is alike: who may write there could swap what
    // is in it while it is packed.
    for number in [root.st_dev, root.st_ino] {
        hash.sha.update(number.to_be_bytes());
    }
    hash.directory(tree, Path::new(""), 0)?;
    Ok(format!("sha256:{}", hex(hash.sha)))
}

struct Hash {
    sha: Sha256,
    entries: u64,
    bytes: u64,
}

impl Hash {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), DiskError> {
        if depth >= MAX_DEPTH {
            return Err(too_deep(path));
        }
        let listed = open(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|opened| Ok((self.names(&opened)?, opened)));
        let (names, opened) = listed.map_err(|e| failed(path, e))?;
        if self.entries > LIMITS.entries {
            return Err(too_large(LIMITS.entries, "entries"));
        }
        for name in names {
            let path = path.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
            let at = |e: io::Error| failed(&path, e);
            let stat =
                statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| at(e.into()))?;
            self.part(name.as_bytes());
            self.attributes(&stat);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY;
                    let child = open(opened.as_fd(), name.as_c_str(), flags).map_err(at)?;
                    self.directory(child.as_fd(), &path, depth + 1)?;
                }
                FileType::RegularFile => {
                    // It may have become something else by now: what would wait is not waited for.
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                    let file = open(opened.as_fd(), name.as_c_str(), flags).map_err(at)?;
                    self.content(file.into()).map_err(at)?;
                    if self.bytes > LIMITS.bytes {
                        return Err(too_large(LIMITS.bytes, "bytes"));
                    }
                }
                FileType::Symlink => {
                    let target = readlinkat(&opened, &name, Vec::new());
                    self.part(target.map_err(|e| at(e.into()))?.as_bytes());
                }
                // No disk has it.
                _ => {}
            }
        }
        // The end of a directory is no name.
        self.part(b"");
        Ok(())
    }

    /// The names in a directory, in an order of ours: that in which a file system tells them is its
    /// own. Ends early where there are too many.
    fn names(&mut self, directory: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                self.entries += 1;
                if self.entries > LIMITS.entries {
                    break;
                }
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Ends early where there is too much, of a file that grows while it is read, too.
    fn content(&mut self, mut file: File) -> io::Result<()> {
        let mut one = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        while self.bytes <= LIMITS.bytes {
            match file.read(&mut buffer)? {
                0 => break,
                read => {
                    one.update(&buffer[..read]);
                    self.bytes += read as u64;
                }
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
