//! What the jailer finds: a private tmpfs with the programs and, in the root of the jail, the files
//! that the machine is given. Nothing of it is on the host's disk or in its mount table, and the
//! kernel takes it away with the runner.
//!
//! ```text
//! /tmp (the stage)            in the runner's mount namespace only
//!   bin/firecracker, jailer   read-only
//!   firecracker/ID/root/      the jail's root
//!     kernel, disk0 …         one file each, read-only unless it is to be written
//!     firecracker, dev/ …     made by the jailer
//!     api.sock, v.sock        made by Firecracker
//! ```

use std::fs::{File, create_dir, create_dir_all};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use axo_runner::{API_SOCKET, JAILER_DONE, JailFile, PrepareMachine, Stage};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};

use crate::supervisor::mounts::{Access, attach, copy, restrict, tmpfs_with_devices};
use crate::supervisor::namespace::unshare_mounts;
use crate::supervisor::step::{Failed, Step as _};

/// What the jailer calls a program's directory and its copy.
const PROGRAM: &str = "firecracker";
/// Room on the tmpfs beside Firecracker's program, in bytes: for a few small files.
const ROOM_BYTES: u64 = 1 << 20;
/// Files and directories on it: some twenty are made, and a Firecracker gone wrong makes no more
/// than these.
const INODES: u64 = 128;
/// Names in the root of the jail that are not for files of the engine's.
const TAKEN: [&str; 8] = [
    ".",
    "..",
    PROGRAM,
    API_SOCKET,
    JAILER_DONE,
    "dev",
    "old_root",
    "run",
];

/// A jail that nobody is in yet.
pub(super) struct Jail {
    /// Its root directory.
    pub(super) root: OwnedFd,
    /// Where jails are, for the jailer.
    pub(super) base: PathBuf,
    pub(super) firecracker: PathBuf,
    pub(super) jailer: PathBuf,
}

impl Jail {
    /// `files` are the two programs and each of [`PrepareMachine::files`].
    pub(super) fn make(prepare: &PrepareMachine, files: Vec<OwnedFd>) -> Result<Self, Failed> {
        const DOING: &str = "making the jail";
        let [firecracker, jailer, files @ ..] = files.as_slice() else {
            return Err(Failed::new(DOING, "its programs did not arrive"));
        };
        if files.len() != prepare.files.len() {
            return Err(Failed::new(DOING, "a file for it did not arrive"));
        }
        let size = check_program(firecracker, PROGRAM)?;
        check_program(jailer, "jailer")?;
        for (file, wanted) in files.iter().zip(&prepare.files) {
            check_file(file, wanted, prepare)?;
        }
        // Only mounts of one's own mount namespace can be copied, and these are the engine's.
        let tree = |file: &OwnedFd, access| {
            let tree = copy(file)?;
            restrict(&tree, access).map(|()| tree)
        };
        let firecracker = tree(firecracker, Access::ReadOnly).step(DOING)?;
        let jailer = tree(jailer, Access::ReadOnly).step(DOING)?;
        let mut trees = Vec::new();
        for (file, wanted) in files.iter().zip(&prepare.files) {
            let access = match wanted.writable {
                true => Access::ReadWrite,
                false => Access::ReadOnly,
            };
            let doing = format!("putting {} into the jail", wanted.name);
            trees.push((tree(file, access).step(&doing)?, &wanted.name));
        }
        unshare_mounts()?;

        let base = Stage::default().path().to_owned();
        let options = format!(
            "mode=0700,size={},nr_inodes={INODES}",
            size.saturating_add(ROOM_BYTES)
        );
        tmpfs_with_devices(&base, &options).step("mounting the stage")?;
        let programs = base.join("bin");
        create_dir(&programs).step(DOING)?;
        let place = |tree: &OwnedFd, path: PathBuf| -> Result<PathBuf, Failed> {
            let doing = format!("placing {}", path.display());
            File::create_new(&path).step(&doing)?;
            attach(tree, &path).step(&doing)?;
            Ok(path)
        };
        let root = base.join(PROGRAM).join(&prepare.id).join("root");
        create_dir_all(&root).step(DOING)?;
        for (tree, name) in trees {
            place(&tree, root.join(name))?;
        }
        Ok(Self {
            firecracker: place(&firecracker, programs.join(PROGRAM))?,
            jailer: place(&jailer, programs.join("jailer"))?,
            root: open_directory(&root).step(DOING)?,
            base,
        })
    }
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// Answers its size. Firecracker runs from a copy that has its mode, as a user who is nobody.
fn check_program(file: &OwnedFd, name: &str) -> Result<u64, Failed> {
    const NEEDED: u32 = 0o005;
    let doing = format!("examining the program {name}");
    let stat = fstat(file).step(&doing)?;
    check_named(&stat, &doing)?;
    if !is_regular(&stat) || stat.st_mode & NEEDED != NEEDED {
        let why = "it must be a file that everybody may read and execute: chmod 0755 it";
        return Err(Failed::new(&doing, why));
    }
    u64::try_from(stat.st_size).step(&doing)
}

fn check_file(file: &OwnedFd, wanted: &JailFile, prepare: &PrepareMachine) -> Result<(), Failed> {
    let JailFile { name, writable } = wanted;
    let doing = format!("examining {name}, which is for the jail");
    if name.is_empty() || name.contains('/') || TAKEN.contains(&name.as_str()) {
        return Err(Failed::new(&doing, "a file there cannot have this name"));
    }
    let stat = fstat(file).step(&doing)?;
    check_named(&stat, &doing)?;
    let needed = if *writable { 0o6 } else { 0o4 };
    let (as_other, as_owner) = (stat.st_mode & 0o7, (stat.st_mode >> 6) & 0o7);
    let may = match stat.st_uid == prepare.uid {
        true => as_owner,
        false => as_other,
    };
    match (is_regular(&stat), may & needed == needed) {
        (false, _) => Err(Failed::new(&doing, "it is no regular file")),
        (true, false) => {
            let why = format!(
                "the machine's user may not use it: its mode is {:o}, and its owner {}",
                stat.st_mode & 0o777,
                stat.st_uid
            );
            Err(Failed::new(&doing, why))
        }
        (true, true) => Ok(()),
    }
}

/// The kernel mounts nothing that has no name any more.
fn check_named(stat: &Stat, doing: &str) -> Result<(), Failed> {
    match stat.st_nlink {
        0 => Err(Failed::new(doing, "it was removed from its directory")),
        _ => Ok(()),
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn prepare() -> PrepareMachine {
        PrepareMachine {
            id: "m".into(),
            uid: 0x7800_0000,
            gid: 0x7800_0000,
            cgroup: axo_runner::Cgroup::Directories(Vec::new()),
            files: Vec::new(),
            file_bytes: 0,
            keep: None,
        }
    }

    #[test]
    fn a_file_that_the_machine_could_not_use_is_refused_before_there_is_a_jail() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let check = |mode, name: &str, writable| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let file = File::open(&path).unwrap().into();
            let wanted = JailFile {
                name: name.into(),
                writable,
            };
            check_file(&file, &wanted, &prepare()).map_err(|failed| failed.why)
        };
        check(0o644, "kernel", false).unwrap();
        check(0o666, "memory", true).unwrap();
        assert!(check(0o600, "kernel", false).unwrap_err().contains("600"));
        assert!(check(0o644, "memory", true).unwrap_err().contains("644"));
        for name in ["", "a/b", "..", "dev", "api.sock", "firecracker"] {
            let why = check(0o644, name, false).unwrap_err();
            assert!(why.contains("name"), "{name}: {why}");
        }
        let removed = File::open(&path).unwrap().into();
        std::fs::remove_file(&path).unwrap();
        let wanted = JailFile {
            name: "kernel".into(),
            writable: false,
        };
        let failed = check_file(&removed, &wanted, &prepare()).unwrap_err();
        assert!(failed.why.contains("removed"), "{}", failed.why);
        let directory = File::open(home.path()).unwrap().into();
        let wanted = JailFile {
            name: "d".into(),
            writable: false,
        };
        let failed = check_file(&directory, &wanted, &prepare()).unwrap_err();
        assert!(failed.why.contains("regular"), "{}", failed.why);
    }

    #[test]
    fn a_program_that_nobody_could_execute_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("program");
        std::fs::write(&path, "xyz").unwrap();
        let check = |mode| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let file = File::open(&path).unwrap().into();
            check_program(&file, "p").map_err(|failed| failed.why)
        };
        assert_eq!(check(0o755), Ok(3));
        assert!(check(0o700).unwrap_err().contains("chmod"));
    }
}
