//! Reading a tool's program before it is needed: a machine that is stored then has it in memory, and what
//! is restored of it neither reads a disk nor unpacks anything.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Most that is read, in bytes: it is stored with every such machine.
const MOST: u64 = 8 << 20;

/// Reads `program`, a path beneath `image` as a container of it would resolve it.
pub(super) fn read(image: &Path, program: &[u8]) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, image, flags, Mode::empty())?;
    // It need not be a file.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, program, flags, Mode::empty(), resolve)?);
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    io::copy(&mut file.take(MOST), &mut io::sink())?;
    Ok(())
}
