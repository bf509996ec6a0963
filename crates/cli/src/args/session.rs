//! The command line of `axocoatl session`.

use std::path::PathBuf;
use std::time::Duration;

use axocoatl_isolation::sessions::{Network, Profile, PublishedPort, SessionName, SessionTier};
use axocoatl_isolation::{CpuShare, EnvGrant, Size, parse_duration};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::parse_cpus;

#[derive(Subcommand, Debug)]
pub(crate) enum Session {
    /// Make a session: a sandbox that stays, for many commands
    Create(Box<Create>),
    /// List the sessions, those that ended too
    Ls,
    /// Show a session: its state, limits, and what it uses
    Show {
        /// Its name, its id, or the beginning of its id.
        session: String,
    },
    /// Run a command in a session. Its status is this command's
    Exec(Exec),
    /// Open a terminal in a session, or go back to one. Ctrl-P Ctrl-Q leaves it running
    Shell(Shell),
    /// List the processes that were started in a session
    Ps {
        /// Its name, its id, or the beginning of its id.
        session: String,
    },
    /// Print what a process of a session has written, as far as it is kept
    Logs(Logs),
    /// Send a signal to a process of a session, and its children
    Kill {
        /// The session.
        session: String,
        /// The process, as `session ps` lists it.
        process: u64,
        /// The signal: a name or a number
        #[arg(long, short, default_value = "TERM", value_parser = parse_signal)]
        signal: i32,
    },
    /// Copy a file or directory between this host and a session
    Cp {
        /// What to copy: PATH of this host, or SESSION:PATH.
        #[arg(value_name = "FROM")]
        from: String,
        /// Where to: PATH of this host, or SESSION:PATH. A directory that is there gets it inside; what has its name there already stays, but for a file of the session
        #[arg(value_name = "TO")]
        to: String,
    },
    /// Bring back what a session in a machine has made of its copy of the directory
    #[command(after_help = SYNC_LETTERS)]
    Sync {
        /// The session.
        session: String,
        /// Remove here what was removed in the session
        #[arg(long)]
        delete: bool,
        /// Let what was changed on both sides become what the session has
        #[arg(long)]
        force: bool,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// End a session and everything in it. Its record stays
    Stop {
        /// The sessions.
        #[arg(required = true)]
        sessions: Vec<String>,
        /// Give up what `session sync` has not brought back
        #[arg(long)]
        discard: bool,
        /// Time between SIGTERM and SIGKILL
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
        grace: Duration,
    },
    /// End sessions and forget them
    Rm {
        /// The sessions.
        #[arg(required = true)]
        sessions: Vec<String>,
        /// Give up what `session sync` has not brought back
        #[arg(long)]
        discard: bool,
    },
}

const SYNC_LETTERS: &str = "\
What is printed: M PATH, new or changed; D PATH, removed here; ! PATH, removed in the session and still
here; ? PATH, not brought back because nobody can read it in the session. With --dry-run also C PATH,
changed on both sides, which --force decides; X PATH, a directory here in whose place the session has
something else, which --delete decides. Where there is one, nothing would be written, and the status is 1.";

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The image, of the store. `axocoatl image pull` and `axocoatl image import` bring one
    #[arg(long, value_name = "REF", value_parser = NonEmptyStringValueParser::new())]
    #[arg(required_unless_present = "devcontainer")]
    pub(crate) image: Option<String>,
    /// What to call it: a-z, 0-9, _ and -
    #[arg(long)]
    pub(crate) name: Option<SessionName>,
    /// What it lives in: podman, a container; microvm, a machine of its own, with no network
    #[arg(long, default_value = "podman")]
    pub(crate) tier: SessionTier,
    /// The directory to work in: it is in the session at its own path, and can be written there. In a machine it is a copy, which `session sync` brings back
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// locked: no capabilities, read-only root. dev: what package managers need
    #[arg(long, default_value = "locked")]
    pub(crate) profile: Profile,
    /// none: its own loopback alone. bridge: whatever this host reaches
    #[arg(long, default_value = "none")]
    pub(crate) network: Network,
    /// Publish a port on 127.0.0.1: HOST:SESSION, or one number for both. Needs --network bridge
    #[arg(long, value_name = "HOST:SESSION")]
    pub(crate) port: Vec<PublishedPort>,
    /// A variable of all its processes: K=V, or K for the value it has here
    #[arg(long, value_name = "K[=V]", value_parser = EnvGrant::parse)]
    pub(crate) env: Vec<EnvGrant>,
    /// A note of yours on it: K=V
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    pub(crate) label: Vec<(String, String)>,
    /// A command to run in it once, before it is ready
    #[arg(long, value_name = "COMMAND")]
    pub(crate) setup: Vec<String>,
    /// Take image, variables, ports and setup commands from a devcontainer.json
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[arg(default_missing_value = ".devcontainer/devcontainer.json")]
    pub(crate) devcontainer: Option<PathBuf>,
    /// Run the setup commands of the devcontainer.json, and those of --setup beside it
    #[arg(long, requires = "devcontainer")]
    pub(crate) allow_setup: bool,
    #[command(flatten)]
    pub(crate) limits: SessionLimitArguments,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct SessionLimitArguments {
    /// Memory of all its processes, for example 4GiB. Default: 2GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Share of processor time in cores. Default: 2
    #[arg(long, value_name = "CORES", value_parser = parse_cpus)]
    pub(crate) cpus: Option<CpuShare>,
    /// Processes and threads. Default: 512
    #[arg(long, value_name = "N")]
    pub(crate) pids: Option<u32>,
    /// Open files of a process. Default: 1024
    #[arg(long, value_name = "N")]
    pub(crate) files: Option<u32>,
    /// Room in each of /tmp, /run, /var/tmp and /dev/shm, in memory; in a machine also of its copy of
    /// --dir, and of dev's root. Default: 256MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) scratch: Option<Size>,
    /// It ends after so long without anybody connected. Default: 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) idle: Option<Duration>,
    /// It ends after so long. Default: 1d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) total: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// Leave the command running and print the id of its process, for `logs`, `ps` and `kill`
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Give the command no input
    #[arg(long, conflicts_with = "detach")]
    pub(crate) no_input: bool,
    /// Where it runs. Default: the session's directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<String>,
    /// A variable: K=V, or K for the value it has here
    #[arg(long, value_name = "K[=V]", value_parser = EnvGrant::parse)]
    pub(crate) env: Vec<EnvGrant>,
    /// It is killed after so long. An agent that does not say so 5 s later is left
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Bytes of its output that stay readable for `logs`, 64KiB to 64MiB. Default: 1MiB
    #[arg(long, value_name = "SIZE", requires = "detach")]
    pub(crate) retain: Option<Size>,
    /// The session.
    pub(crate) session: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Shell {
    /// Go back to this process, which has a terminal
    #[arg(long, value_name = "PROCESS", conflicts_with = "command")]
    pub(crate) attach: Option<u64>,
    /// The session.
    pub(crate) session: String,
    /// The command to run in the terminal. Default: /bin/sh
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// Go on until the process ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Start at this offset: the number of bytes of output before it
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub(crate) from: u64,
    /// The session.
    pub(crate) session: String,
    /// The process, as `session ps` lists it.
    pub(crate) process: u64,
}

/// Signals by number, 1 to 31 (signal(7), on x86 and Arm).
const SIGNALS: [(&str, i32); 14] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("WINCH", 28),
];

fn parse_signal(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let named = SIGNALS.iter().find(|(known, _)| *known == name);
    match (named, text.parse::<i32>()) {
        (Some((_, number)), _) => Ok(*number),
        (None, Ok(number)) if (1..=31).contains(&number) => Ok(number),
        _ => Err(format!(
            "{text:?} is no signal: write a name such as TERM or KILL, or 1 to 31"
        )),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no label: write K=V")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn a_signal_is_a_name_or_a_number() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("int", 2),
            ("1", 1),
            ("31", 31),
        ] {
            assert_eq!(parse_signal(text), Ok(number));
        }
        for bad in ["", "0", "32", "-9", "NOPE", "SIG"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
