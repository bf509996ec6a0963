//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytesize::ByteSize;

/// Run a command in a whole Linux host with a working /dev/kvm
///
/// The host is an emulated machine with cgroup v2 and every right of root. It shows this host's files
/// and throws every change away.
///
/// The command runs in the directory this is called from, with no input and no network. Its output and
/// exit status are passed on; 124 says that the time was over, 125 that the machine failed, 75
/// that QEMU lost it and another try is worth it. Beside /results and /scratch, /tmp and /run are the
/// machine's own.
///
/// Debian's kernel is fetched once, checked and kept in ~/.cache/axocoatl-vmhost (AXO_VMHOST_CACHE);
/// nothing is installed. On other systems take the installed one: --kernel /lib/modules/$(uname -r).
/// That machine boots in seconds, and what it computes takes five to ten times as long as here.
#[derive(clap::Args)]
#[command(max_term_width = 100)]
pub(crate) struct Arguments {
    /// What PID 1 is
    #[arg(long, value_enum, default_value = "plain")]
    pub(super) init: Init,
    /// Run the command as this user, with a cgroup of its own to divide. One that the host does not
    /// have gets the next free number from 1000, and ranges of subordinate ones
    #[arg(long, value_name = "NAME", value_parser = user)]
    pub(super) user: Option<String>,
    /// Memory in MiB. What is written outside of /results and /scratch counts
    #[arg(long, value_name = "MIB", default_value = "3000", value_parser = clap::value_parser!(u32).range(256..))]
    pub(super) memory: u32,
    /// Processors
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) cpus: u32,
    /// Have the kernel wake all the time, which slows the machine: one that runs guests may otherwise
    /// never wake again
    #[arg(long)]
    pub(super) tick: bool,
    /// The host's directory that is /results (AXO_RESULTS) in the machine, the one place whose changes
    /// stay. Without it, one that is thrown away
    #[arg(long, value_name = "DIR")]
    pub(super) results: Option<PathBuf>,
    /// Show a directory of the host where the machine has its own: one beneath /tmp, for instance.
    /// Its changes are thrown away. May be given several times
    #[arg(long, value_name = "DIR")]
    pub(super) share: Vec<PathBuf>,
    /// Size of the ext4 disk at /scratch (AXO_SCRATCH), for what a file system in memory or an overlay
    /// cannot do; 0 for none. It takes only the space that is written
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub(super) scratch: ByteSize,
    /// End the machine after this time, its boot included
    #[arg(long, value_name = "DURATION", default_value = "30min")]
    timeout: humantime::Duration,
    /// A variable for the command; without a value, the caller's
    #[arg(long, value_name = "K[=V]", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// The modules' directory of a kernel, with its vmlinuz in it, in place of Debian's
    #[arg(long, value_name = "DIR")]
    pub(super) kernel: Option<PathBuf>,
    /// Look for newer packages than those kept
    #[arg(long)]
    pub(super) refresh: bool,
    /// Say how long boot and command took
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

impl Arguments {
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Init {
    /// A shell script: boots fastest
    Plain,
    /// systemd with D-Bus and logind, and a session for --user
    Systemd,
}

impl Init {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Systemd => "systemd",
        }
    }
}

/// The names that useradd takes.
fn user(name: &str) -> Result<String> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    ensure!(
        starts && name.chars().all(rest) && name.len() <= 32,
        "names are like `tester`"
    );
    ensure!(name != "root", "root is who runs the command without this");
    Ok(name.to_owned())
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (text, std::env::var(text).unwrap_or_default()),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(
        starts && name.chars().all(rest),
        "names of variables are like `RUST_LOG`"
    );
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_users_are_taken() {
        assert!(user("tester").is_ok());
        for name in ["", "root", "a b", "x:0", "$(id)", "Upper", "-x"] {
            assert!(user(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_variable_may_have_any_value() {
        assert_eq!(
            variable("A=b=c d").unwrap(),
            ("A".to_owned(), "b=c d".to_owned())
        );
        assert!(variable("A-B=c").is_err());
        assert!(variable("=c").is_err());
    }
}
