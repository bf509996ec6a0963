//! Why something that podman was to do was not done.

use std::path::PathBuf;
use std::time::Duration;

/// Why podman, or a program beside it, did not do what it was asked. That a host is not ready is no
/// error: see [`Probed`](super::Probed).
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// There is no podman.
    #[error("podman is not installed on this host; install it by hand: {manual}")]
    NotInstalled {
        /// What to run by hand.
        manual: &'static str,
    },
    /// Podman has no virtual machine, and a user is to decide whether it gets one.
    #[error(
        "podman has no virtual machine to run containers in; make one and start it: \
         podman machine init && podman machine start (this downloads its disk image)"
    )]
    MachineMissing,
    /// Its virtual machine does not start.
    #[error(
        "podman's virtual machine does not start: {why}; start it by hand: podman machine start"
    )]
    MachineStart {
        /// What podman said, fit to be shown.
        why: String,
    },
    /// It could not be installed.
    #[error("podman could not be installed: {why}; install it by hand: {manual}")]
    Install {
        /// What went wrong, fit to be shown.
        why: String,
        /// What to run by hand.
        manual: &'static str,
    },
    /// A repair failed.
    #[error("a step of the repair failed ({what}): {why}; run it by hand: {command}")]
    Repair {
        /// What the step is for.
        what: String,
        /// What went wrong, fit to be shown.
        why: String,
        /// The step, as it is typed in a shell.
        command: String,
    },
    /// A program could not be started.
    #[error("{program} cannot be started; see that it is a program this user may run")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program that ran could not be attended.
    #[error("{program} was started, but what it says cannot be read; try again")]
    Attend {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program took too long and was ended.
    #[error(
        "`{command}` took longer than {deadline:?} and was ended{said}; run it by hand to see why"
    )]
    Late {
        /// The program and its first argument.
        command: String,
        /// How long it had.
        deadline: Duration,
        /// What it had said until then, fit to be shown; empty or with a colon before.
        said: String,
    },
    /// A program wrote more than anybody should read.
    #[error("`{command}` wrote more than {limit} bytes; run it by hand to see why")]
    Flood {
        /// The program and its first argument.
        command: String,
        /// Most that is read of each stream.
        limit: usize,
    },
    /// A program ended with another status than 0.
    #[error("`{command}` failed ({status}): {said}; run it by hand to see more")]
    Failed {
        /// The program and its first argument.
        command: String,
        /// How it ended.
        status: String,
        /// What it said, fit to be shown.
        said: String,
    },
    /// An answer that should be JSON is not, or lacks something.
    #[error("`{command}` gave an answer that this version does not understand; please report it")]
    Answer {
        /// The program and its first argument.
        command: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A directory whose name podman would take for an option of a mount.
    #[error(
        "{path} cannot be a container's root: its name has a colon, a comma or is not absolute; \
         use another directory (AXOCOATL_HOME says which)"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// A file of ours could not be used.
    #[error("{doing} {path} failed; free space there and make it writable for this user")]
    File {
        /// What was tried, as in "writing".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
