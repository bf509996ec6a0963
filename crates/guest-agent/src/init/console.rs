//! The serial console, which is there for the kernel's last words and for ours up to here.

use std::fs::{File, write};
use std::io;

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::tcdrain;

/// Messages that still go to it: that the kernel has panicked.
const EMERGENCIES: &str = "1";

/// Comes back to it, for last words.
pub(super) fn come_back() {
    let console = File::options().write(true).open("/dev/console");
    // Without it nobody hears them.
    let _ = console.map(|console| dup2_stderr(&console));
}

/// Leaves it: a tool that makes the kernel talk would have the host read it all.
pub(super) fn leave() -> io::Result<()> {
    write("/proc/sys/kernel/printk", EMERGENCIES)?;
    // It may be none.
    let _ = tcdrain(rustix::stdio::stderr());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
