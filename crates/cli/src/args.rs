//! The command line.

mod microvm;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use axocoatl_isolation::images::Reference;
use axocoatl_isolation::{
    CpuShare, EnvGrant, HostPort, Mount, Size, Tier, ToolName, parse_duration,
};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

pub(crate) use microvm::{Microvm, MicrovmSetup};
pub(crate) use session::{Create, Exec, Logs, Session, Shell};

/// Runs the tools of AI agents inside the right amount of isolation.
#[derive(Parser, Debug)]
#[command(name = "axocoatl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print machine-readable JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const EXIT_CODES: &str = "\
Exit codes: the tool's own; 1 doctor, tool ls, session ls: something is not well, or session sync \
--dry-run: it would refuse; 2 wrong command line; 124 timed out; 125 we failed, or input or output \
is not valid; 126 refused by policy, or by a limit or grant that cannot be had; 127 no such tool or \
image; 130 interrupted; 134 trapped; 137 out of memory; 143 terminated; 152 out of fuel; 153 too \
much output.

Policy is read from policy.toml in the configuration directory; AXOCOATL_HOME puts everything \
under one directory.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a tool once
    Run(Run),
    /// List, show, check, add and remove tools
    #[command(subcommand)]
    Tool(Tool),
    /// Fetch, take in, list, show and remove images
    #[command(subcommand)]
    Image(Image),
    /// Make sandboxes that stay, and work in them
    #[command(subcommand)]
    Session(Session),
    /// Set up microVMs; show and remove what they are made of
    #[command(subcommand)]
    Microvm(Microvm),
    /// Show what this host can do: each tier is started for real
    Tiers,
    /// Examine this host and say how to repair what is wrong
    Doctor(Doctor),
    /// Remove what dead processes left behind
    Gc(Gc),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A tool's name, its directory or an OCI bundle's (a path with a slash), or a .wasm or .wat file
    #[arg(required_unless_present_any = ["image", "command"], conflicts_with = "command")]
    pub(crate) tool: Option<String>,
    /// Run an image of the store in place of a tool. The input is null if none is given
    #[arg(long, value_name = "REF", conflicts_with = "tool")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) image: Option<String>,
    /// With --image: the command and its arguments, in place of the image's own
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// The input: one JSON document. Without this and --input-file it is read from standard input
    #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
    pub(crate) input: Option<String>,
    /// Read the input from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) input_file: Option<PathBuf>,
    /// Print on standard error which tier was chosen, and why
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) isolation: Isolation,
    #[command(flatten)]
    pub(crate) limits: LimitArguments,
    #[command(flatten)]
    pub(crate) grants: GrantArguments,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct Isolation {
    /// Use this tier or none: none, wasm, oci, microvm
    #[arg(long)]
    pub(crate) tier: Option<Tier>,
    /// Use this tier or a stronger one. It may lower a built-in minimum, never one of the policy
    #[arg(long, value_name = "TIER")]
    pub(crate) min_tier: Option<Tier>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits, in place of the tool's own")]
pub(crate) struct LimitArguments {
    /// Elapsed time, for example 10s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Memory, for example 256MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Share of processor time in cores, for example 0.5
    #[arg(long, value_name = "CORES", value_parser = parse_cpus)]
    pub(crate) cpus: Option<CpuShare>,
    /// Processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// WebAssembly instructions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) fuel: Option<u64>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Grants, beyond the tool's own")]
pub(crate) struct GrantArguments {
    /// An environment variable: K=V, or K for the value it has here
    #[arg(long, value_name = "K[=V]", value_parser = EnvGrant::parse)]
    pub(crate) env: Vec<EnvGrant>,
    /// A directory of the host: SRC:DST, read-only unless :rw
    #[arg(long, value_name = "SRC:DST[:ro|rw]", value_parser = Mount::parse)]
    pub(crate) mount: Vec<Mount>,
    /// A host that may be connected to
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    pub(crate) net: Vec<HostPort>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Tool {
    /// List the tools of the project, the user and the system
    Ls,
    /// Show a tool's manifest as it is understood, and where it would run
    Show {
        /// Its name, its directory or an OCI bundle's, or a .wasm or .wat file.
        tool: String,
    },
    /// Check a tool: manifest, schemas, program, and whether it may run here
    Check {
        /// Its name, its directory or an OCI bundle's, or a .wasm or .wat file.
        tool: String,
    },
    /// Check a tool and copy it to the user's tools
    Add {
        /// Its directory.
        directory: PathBuf,
    },
    /// Remove a tool from the user's tools
    Rm {
        /// Its name.
        #[arg(value_parser = ToolName::parse)]
        name: ToolName,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Image {
    /// Fetch an image from its registry
    Pull {
        /// Its name: `[registry/]name[:tag][@sha256:…]`.
        #[arg(value_name = "REF", value_parser = parse_reference)]
        reference: Reference,
        /// Speak to the registry without TLS. Whoever is in between learns passwords, and decides
        /// what a tag means
        #[arg(long)]
        insecure_http: bool,
    },
    /// Take in an image: an OCI layout, a `docker save` archive, or a root file system as a tar or
    /// a directory
    Import {
        /// The file or directory. What it is, its content says.
        #[arg(value_name = "FILE|DIR")]
        source: PathBuf,
        /// Give the image this name, in place of the one in the archive
        #[arg(long, value_name = "REF", value_parser = parse_reference)]
        name: Option<Reference>,
    },
    /// List the images in the store
    Ls,
    /// Show an image: how it wants to be run, its names, digests and size
    Show {
        /// Its name, its digest, or 12 digits of that.
        #[arg(value_name = "REF")]
        reference: String,
    },
    /// Remove names, and with its last name an image
    Rm {
        /// Names; or digests, which remove the image with all its names.
        #[arg(value_name = "REF", required = true)]
        references: Vec<String>,
    },
    /// Remove what no image needs: parts of downloads, blobs, unpacked root file systems
    Gc {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Repair what can be repaired. Without it nothing is changed
    #[arg(long)]
    pub(crate) fix: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Gc {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn parse_reference(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>()
        .map_err(|e| format!("{e}; write [registry/]name[:tag][@sha256:…]"))
}

fn parse_cpus(text: &str) -> Result<CpuShare, String> {
    let cores: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of cores"))?;
    CpuShare::from_cores(cores).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
