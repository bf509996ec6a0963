//! The root directory.
//!
//! The kernel unpacks an initramfs into the one file system that has nothing beneath it, and
//! `pivot_root`, by which a container gets a root of its own, needs something beneath. So that file
//! system is bound over itself, and is left where it was: nothing has to be copied.

use std::fs::create_dir_all;

use rustix::mount::{mount_bind, mount_move};
use rustix::process::{chdir, chroot};

use super::step::{Failed, Step as _};

/// Where it is bound, before it is moved over everything.
const PLACE: &str = "/newroot";

pub(super) fn bind_over_itself() -> Result<(), Failed> {
    create_dir_all(PLACE).step("root: making a directory")?;
    mount_bind("/", PLACE).step("root: binding it")?;
    chdir(PLACE).step("root: entering it")?;
    mount_move(".", "/").step("root: moving it")?;
    chroot(".").step("root: making it ours")?;
    chdir("/").step("root: entering it")
}
