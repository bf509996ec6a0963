//! Bare Firecracker: the same kernel, initramfs, size and devices as a machine of ours, without
//! jailer, runner, cgroup or API, from a configuration file.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use axocoatl_isolation::machines::{Artifacts, COMMAND_LINE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use serde_json::json;

/// How long a guest may take to its first line, where processors are emulated.
const LONGEST: Duration = Duration::from_secs(120);
/// What makes the kernel silent but for emergencies.
const SILENCE: &str = " quiet loglevel=1";
/// Most of a console that is read, in bytes.
const MOST: usize = 1 << 20;

/// Whose line is waited for.
#[derive(Clone, Copy)]
pub(crate) enum First {
    /// The kernel's, whatever it is. It is told to speak, and has hardly begun to boot.
    Kernel,
    /// Init's, which says that it is ready. The kernel is told to be silent, as in our machines, so
    /// that this is the first line of all.
    Init,
}

/// What is booted.
pub(crate) struct Bare {
    firecracker: PathBuf,
    home: PathBuf,
    /// Held: nobody removes the installation.
    _artifacts: Artifacts,
}

impl Bare {
    /// As large as what is stored beneath `stored`, with the initramfs and disk that are there.
    pub(crate) fn new(installed: &Path, stored: &Path, home: &Path) -> anyhow::Result<Self> {
        let artifacts = Artifacts::open(installed)?;
        let home = home.join("bare");
        fs::create_dir_all(&home)?;
        let made = stored.join("microvm");
        let memory = only(&made.join("snapshots"), "")?.join("memory");
        let mib = fs::metadata(memory)?.len() >> 20;
        let initramfs = only(&made.join("initramfs"), ".cpio")?;
        let disk = only(&made.join("disks"), ".squashfs")?;
        ensure!(
            COMMAND_LINE.contains(SILENCE),
            "the kernel is not told to be silent any more"
        );
        for first in [First::Kernel, First::Init] {
            let arguments = match first {
                First::Kernel => COMMAND_LINE.replace(SILENCE, ""),
                First::Init => COMMAND_LINE.to_owned(),
            };
            let config = json!({
                "boot-source": {
                    "kernel_image_path": artifacts.kernel,
                    "initrd_path": initramfs,
                    "boot_args": arguments,
                },
                "machine-config": {"vcpu_count": 1, "mem_size_mib": mib, "smt": false},
                "drives": [{
                    "drive_id": "disk0", "path_on_host": disk,
                    "is_root_device": false, "is_read_only": true,
                }],
                "vsock": {"guest_cid": 3, "uds_path": home.join("v.sock")},
            });
            fs::write(home.join(first.config()), config.to_string())?;
        }
        Ok(Self {
            firecracker: artifacts.firecracker.clone(),
            home,
            _artifacts: artifacts,
        })
    }

    /// How long it takes from the start of the process to the end of the line.
    pub(crate) fn boot(&self, first: First) -> anyhow::Result<Duration> {
        // It is made, and never removed.
        match fs::remove_file(self.home.join("v.sock")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let started = Instant::now();
        let mut child = Command::new(&self.firecracker)
            .args(["--no-api", "--level", "Error", "--config-file"])
            .arg(self.home.join(first.config()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.firecracker.display()))?;
        let line = first_line(&mut child, started);
        let took = started.elapsed();
        child.kill()?;
        child.wait()?;
        let line = line?;
        ensure!(
            first.is_of(&line),
            "the first line on its console is {line:?}"
        );
        Ok(took)
    }
}

impl First {
    fn config(self) -> &'static str {
        match self {
            Self::Kernel => "kernel.json",
            Self::Init => "init.json",
        }
    }

    fn is_of(self, line: &str) -> bool {
        match self {
            Self::Kernel => line.contains("Linux version"),
            Self::Init => line == "axo-guest-agent: ready",
        }
    }
}

/// The first line that is not empty.
fn first_line(child: &mut Child, started: Instant) -> anyhow::Result<String> {
    let mut console = child.stdout.take().context("it has no console")?;
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read);
        // The last piece is no line yet.
        let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if let Some(line) = lines.lines().map(str::trim).find(|line| !line.is_empty()) {
            return Ok(line.to_owned());
        }
        ensure!(read.len() < MOST, "it says much, and no line");
        let left = LONGEST.saturating_sub(started.elapsed());
        let left = Timespec::try_from(left)?;
        let mut one = [PollFd::new(&console, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut one, Some(&left)))? == 0 {
            bail!("it says nothing within {LONGEST:?}");
        }
        match console.read(&mut chunk)? {
            0 => bail!("it ended without a line"),
            more => read.extend_from_slice(&chunk[..more]),
        }
    }
}

/// The only thing in a directory whose name ends like this.
fn only(directory: &Path, end: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("listing {}", directory.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = entries
        .iter()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(end));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => bail!("{} has not one *{end}", directory.display()),
    }
}
