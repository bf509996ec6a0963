//! The few operations on mounts that staging is made of.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::{Errno, Result};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};

/// Hides whatever is mounted at `path`. Where the mounts are another's, they are only covered.
pub(crate) fn hide(path: &Path) -> Result<()> {
    /// Mounts on top of one another, at most.
    const MAX_STACKED: u32 = 16;
    let mut left = MAX_STACKED;
    while left > 0 && unmount(path, UnmountFlags::DETACH).is_ok() {
        left -= 1;
    }
    tmpfs(path, "mode=0555,size=4k,nr_inodes=2")
}

/// What a mount may be used for.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// A private tmpfs at `path`. The text bounds it: `size=…,nr_inodes=…`.
pub(crate) fn tmpfs(path: &Path, options: &str) -> Result<()> {
    mount_tmpfs(path, options, MountFlags::NOSUID | MountFlags::NODEV)
}

/// The same, where device nodes work.
pub(crate) fn tmpfs_with_devices(path: &Path, options: &str) -> Result<()> {
    mount_tmpfs(path, options, MountFlags::NOSUID)
}

fn mount_tmpfs(path: &Path, options: &str, flags: MountFlags) -> Result<()> {
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str()))
}

/// `lower` with a writable layer over it, at `path`.
pub(crate) fn overlay(
    path: &Path,
    lower: &Path,
    upper: &Path,
    work: &Path,
    root: bool,
) -> Result<()> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{}",
        lower.display(),
        upper.display(),
        work.display(),
        if root { "" } else { ",userxattr" }
    );
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("overlay", path, "overlay", flags, Some(options.as_c_str()))
}

/// The directory that `opened` is, as this mount namespace has it: only mounts of one's own can be
/// copied. Opened again by its path, following nothing, and compared with what it was.
pub(crate) fn reopen(opened: &OwnedFd) -> Result<OwnedFd> {
    let path = readlinkat(CWD, format!("/proc/self/fd/{}", opened.as_raw_fd()), [])?;
    let ours = openat2(
        CWD,
        path.as_c_str(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    let (before, now) = (fstat(opened)?, fstat(&ours)?);
    if (before.st_dev, before.st_ino) == (now.st_dev, now.st_ino) {
        Ok(ours)
    } else {
        Err(Errno::STALE)
    }
}

/// A copy of the mount that a directory or file lies on, from there down, not yet anywhere.
pub(crate) fn copy(opened: impl AsFd) -> Result<OwnedFd> {
    open_tree(
        opened,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// Puts a copy at `path`.
pub(crate) fn attach(tree: impl AsFd, path: &Path) -> Result<()> {
    move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes a copy honour no setuid bit and no device, and nothing written where that is not wanted.
pub(crate) fn restrict(tree: impl AsFd, access: Access) -> Result<()> {
    let read_only = match access {
        Access::ReadOnly => MOUNT_ATTR_RDONLY,
        Access::ReadWrite => 0,
    };
    set_attributes(
        tree.as_fd(),
        &MountAttributes {
            set: MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | read_only,
            ..MountAttributes::default()
        },
    )
}

/// Shows the files of a copy as owned by whom `namespace` maps their owners to. Not every file
/// system can: `EINVAL` then.
pub(crate) fn map_owners(tree: impl AsFd, namespace: &OwnedFd) -> Result<()> {
    set_attributes(
        tree.as_fd(),
        &MountAttributes {
            set: MOUNT_ATTR_IDMAP,
            namespace: u64::from(namespace.as_raw_fd().unsigned_abs()),
            ..MountAttributes::default()
        },
    )
}

// From <linux/mount.h>.
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// `struct mount_attr` of <linux/mount.h>.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    namespace: u64,
}

#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
fn set_attributes(tree: BorrowedFd<'_>, attributes: &MountAttributes) -> Result<()> {
    // SAFETY: the structure is that of the system call, its size is told, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
