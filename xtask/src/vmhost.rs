//! `cargo xtask vmhost`: a whole Linux host for tests, on any machine.
//!
//! QEMU emulates a processor with AMD's virtualisation, so a stock kernel in it has a `/dev/kvm` that
//! works, pure cgroup v2 and every capability, whatever the machine has. It sees this host's files as
//! its own; what it changes is thrown away.
//!
//! ```text
//! xtask                                  machine
//!   kernel, layer of systemd (cache)       init.sh   in the initramfs: the root file system
//!   initramfs, disk  (one run's)           run.sh    by PID 1, or a unit of systemd
//!   QEMU ── control ◄───────────────────── "started", "exited STATUS BYTES BYTES"
//!        ── stdout, stderr ◄────────────── the command's bytes
//!        ── console ◄───────────────────── kernel and scripts, to a log
//! ```
//!
//! The machine never ends by itself: xtask ends it when all bytes that were announced have arrived.
//! QEMU is started with the parent-death signal SIGKILL (`setpriv`), so it does not outlive xtask.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::shell::{Shell, say};
use cache::Cache;
use kernel::Kernel;
use machine::Machine;
use watch::End;

mod apt;
mod arguments;
mod cache;
mod folders;
mod guest;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod run;
mod streams;
mod systemd;
mod watch;

pub(crate) use arguments::Arguments;
pub(crate) use initramfs::static_busybox;
pub(crate) use kernel::fetch_package;

/// The machine did not run the command to its end, as `docker run` says it.
const FAILED: u8 = 125;
/// The emulated processor never wakes, and the command is not to blame: it is worth another try. As
/// `EX_TEMPFAIL` of sysexits(3).
pub(crate) const STOOD_STILL: u8 = 75;
/// As `timeout` says it.
const TIMED_OUT: u8 = 124;
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: u8 = 128;

pub(crate) fn run(shell: &Shell, arguments: &Arguments) -> ExitCode {
    match run_in_machine(shell, arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

fn run_in_machine(shell: &Shell, arguments: &Arguments) -> Result<u8> {
    let directory = std::env::current_dir().context("the working directory is gone")?;
    let shares = folders::shares(&arguments.share, &directory)?;
    check_programs(shell)?;

    // Slow, and only the first time.
    let cache = Cache::open()?;
    let kernel = match &arguments.kernel {
        Some(directory) => Kernel::at(directory)?,
        None => Kernel::of_debian(shell, &cache, arguments.refresh)?,
    };
    let layer = match arguments.init {
        arguments::Init::Plain => None,
        arguments::Init::Systemd => systemd::layer(shell, &cache, arguments.refresh)?,
    };

    // From here on an interrupt is an event, so that what follows is cleaned away.
    let watch = watch::Watch::begin()?;
    let run = run::Run::begin(&cache)?;
    let results = folders::results(arguments, run.path())?;
    let scratch = machine::scratch(shell, run.path(), arguments.scratch)?;
    let guest = guest::Guest {
        init: arguments.init,
        user: arguments.user.as_deref(),
        directory: &directory,
        environment: &arguments.env,
        command: &arguments.command,
        shares: &shares,
        has_layer: layer.is_some(),
        has_scratch: scratch.is_some(),
    };
    let initramfs = run.path().join("initramfs");
    initramfs::write(shell, &initramfs, &kernel, &guest)?;

    // Listening before QEMU starts: it connects, and gives up when nobody is there.
    watch.listen(run.path())?;
    let machine = Machine {
        kernel: &kernel,
        initramfs: &initramfs,
        directory: run.path(),
        console: run.console(),
        results: &results,
        layer: layer.as_deref(),
        scratch: scratch.as_deref(),
        memory: arguments.memory,
        cpus: arguments.cpus,
        tick: arguments.tick,
    };
    let running = machine.start(shell)?;
    let end = watch.until_the_end(running, arguments.timeout(), arguments.verbose)?;
    conclude(end, run.console(), arguments)
}

fn conclude(end: End, console: &Path, arguments: &Arguments) -> Result<u8> {
    let log = || {
        let log = run::last_lines(console, 40);
        format!("{}\nends with:\n{log}", console.display())
    };
    match end {
        End::Exited(status) => Ok(status),
        End::TimedOut { started: true } => {
            say(format_args!(
                "timed out: the machine was ended after {} (--timeout)",
                humantime::format_duration(arguments.timeout())
            ));
            Ok(TIMED_OUT)
        }
        End::TimedOut { started: false } => {
            say(format_args!(
                "timed out: the machine did not come to the command in {} (--timeout). Its console, {}",
                humantime::format_duration(arguments.timeout()),
                log()
            ));
            Ok(TIMED_OUT)
        }
        End::NotBooted => bail!(
            "the machine did not come to the command. Its console, {}",
            log()
        ),
        End::Died => bail!(
            "the machine ended before the command did. Its console, {}",
            log()
        ),
        End::StoodStill => {
            say(format_args!(
                "the machine stands still and never wakes, which is a fault of QEMU's; run it again. Its \
                 console, {}",
                log()
            ));
            Ok(STOOD_STILL)
        }
        End::Interrupted(signal) => Ok(SIGNALLED.saturating_add(signal)),
    }
}

/// What has to be there before anything is made.
fn check_programs(shell: &Shell) -> Result<()> {
    const NEEDED: &[(&str, &str)] = &[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("mke2fs", "e2fsprogs"),
        ("depmod", "kmod"),
        ("setpriv", "util-linux"),
    ];
    let mut missing: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !shell.has(program))
        .copied()
        .collect();
    if static_busybox(shell).is_none() {
        missing.push(("static busybox", "busybox-static"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (programs, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    bail!(
        "there is no {}. As root:\n  apt-get update && apt-get install -y --no-install-recommends {}",
        programs.join(", no "),
        packages.join(" ")
    )
}
