//! `axocoatl microvm`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub(crate) enum Microvm {
    /// Install Firecracker, its jailer and a guest's kernel, in place of what is installed
    Setup(MicrovmSetup),
    /// Show what is installed, what is known against it, and what is kept for later calls
    Show,
    /// Remove all of it
    Rm,
}

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct MicrovmSetup {
    /// Firecracker's program
    #[arg(
        long,
        value_name = "FILE",
        requires = "jailer",
        conflicts_with = "release"
    )]
    pub(crate) firecracker: Option<PathBuf>,
    /// Its jailer's, of the same release
    #[arg(long, value_name = "FILE", requires = "firecracker")]
    pub(crate) jailer: Option<PathBuf>,
    /// Download both: upstream's release of this version, for example 1.14.1
    #[arg(long, value_name = "VERSION", requires = "sha256")]
    pub(crate) release: Option<String>,
    /// What the SHA-256 of the release's archive has to be; upstream publishes it beside the archive
    #[arg(long, value_name = "HEX", requires = "release")]
    pub(crate) sha256: Option<String>,
    /// Where to download from, in place of upstream: what comes before /vVERSION/ARCHIVE
    #[arg(long, value_name = "URL", requires = "release")]
    pub(crate) from: Option<String>,
    /// The guest's kernel: a Debian package, a bzImage or an ELF. What is installed stays without this
    #[arg(long, value_name = "FILE", required_unless_present_any = ["firecracker", "release"])]
    pub(crate) kernel: Option<PathBuf>,
    /// The modules of a bzImage or an ELF: its directory in lib/modules, or a package that has it
    #[arg(long, value_name = "DIR|FILE", requires = "kernel")]
    pub(crate) modules: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Firecracker and its jailer are in the archives of upstream's releases, with the SHA-256 of each beside
it: https://github.com/firecracker-microvm/firecracker/releases. Unpack one, or have one downloaded
(--release). For example, on Debian:
  apt-get download \"$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)\"
  axocoatl microvm setup --firecracker ./firecracker --jailer ./jailer --kernel ./linux-image-*.deb";
