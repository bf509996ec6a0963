//! The `oci` suite: design §7's budgets of tier 2, for the same bundle run by everyone.
//!
//! Contestants take turns in rounds, so that all of them see the same machine. A peer that is absent
//! or fails costs its verdicts, which are then missing; that we fail is an error.

mod bundle;
mod ours;
mod peers;
mod processes;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process;
use crate::sample::{Report, Sample, Verdict};
use bundle::Bundle;
use ours::Ours;
use peers::{BWRAP, Peer, RUNC, YOUKI};
use processes::Memory;

const COLD: &str = "Engine::call, cold";
const WARM: &str = "Engine::call, warm: a container waits";
const COMMAND: &str = "axocoatl run, whole process";

const ROUNDS: usize = 20;
/// Runs of each in a round; podman has fewer.
const BATCH: usize = 10;
/// Containers that wait where warm calls are measured.
const POOL: usize = 4;
/// Containers that wait where memory is measured.
const IDLE: usize = 16;
/// Calls at once where rates are measured.
const AT_ONCE: [usize; 3] = [1, 8, 32];

pub(crate) fn suite() -> anyhow::Result<Report> {
    let bundle = Bundle::make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let runtime = Arc::new(runtime);
    let mut report = Report::default();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    report.remarks.push(format!(
        "the machine's load at the start was {} on {} cores: contestants suffer unequally from other work",
        load.split(' ').next().unwrap_or_default(),
        std::thread::available_parallelism()?
    ));
    // First: later the engine would grow into memory that it has used before.
    memory(&bundle, &runtime, &mut report)?;
    times(&bundle, &runtime, &mut report)?;
    rates(&bundle, &runtime, &mut report)?;
    report.remarks.extend([
        "calls of ours install a seccomp filter; the peers here do not, and bwrap sets no limit"
            .into(),
        "youki is started by `env --block-signal=CHLD`, about a millisecond more: \
         else it misses the end of a quick tool now and then, and hangs"
            .into(),
        "warm calls find a full pool: the time in which it is filled is not counted".into(),
    ]);
    Ok(report)
}

/// One way to have the bundle run.
struct Contestant<'a> {
    name: &'static str,
    runs: usize,
    run: Box<dyn Fn() -> anyhow::Result<Duration> + 'a>,
    /// What installs it, if it is a peer.
    install: Option<&'static str>,
    times: Vec<Duration>,
    /// Runs that failed, and how the last one did.
    failed: usize,
    why: Option<anyhow::Error>,
}

impl<'a> Contestant<'a> {
    fn ours(name: &'static str, run: impl Fn() -> anyhow::Result<Duration> + 'a) -> Self {
        Self {
            name,
            runs: BATCH,
            run: Box::new(run),
            install: None,
            times: Vec::new(),
            failed: 0,
            why: None,
        }
    }

    fn peer(peer: &'a Peer, bundle: &'a Bundle, input: PathBuf) -> Self {
        let number = Cell::new(0);
        let run = move || {
            number.set(number.get() + 1);
            let id = format!("run-{}", number.get());
            process::timed(&mut (peer.command)(bundle, &id), &input)
        };
        Self {
            runs: peer.runs.unwrap_or(BATCH),
            install: Some(peer.install),
            ..Self::ours(peer.name, run)
        }
    }

    /// Its turn in a round.
    fn take_turn(&mut self) -> anyhow::Result<()> {
        // One that mostly fails is not worth the time it takes to fail.
        if self.failed > self.runs {
            return Ok(());
        }
        for _ in 0..self.runs {
            match (self.run)() {
                Ok(took) => self.times.push(took),
                Err(error) if self.install.is_none() => return Err(error.context(self.name)),
                Err(error) => {
                    self.failed += 1;
                    self.why = Some(error);
                }
            }
        }
        Ok(())
    }
}

fn times(
    bundle: &Bundle,
    runtime: &Arc<tokio::runtime::Runtime>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let cold = Ours::new(bundle, runtime, 0)?;
    let warm = Ours::new(bundle, runtime, POOL)?;
    // What is made once, and the first filling, are not counted.
    cold.call()?;
    warm.call()?;

    let mut all = vec![
        Contestant::ours(COLD, || cold.call()),
        Contestant::ours(WARM, || warm.warm_call()),
    ];
    match std::env::var_os("AXO_COMMAND") {
        Some(command) => all.push(whole_process(command.into(), bundle)?),
        None => report
            .remarks
            .push("AXO_COMMAND is not set: the whole process was not measured".into()),
    }
    for peer in &peers::ALL {
        match peer.try_out(bundle) {
            Ok(()) => all.push(Contestant::peer(peer, bundle, bundle.input_file())),
            Err(error) => report.remarks.push(format!(
                "{} is not compared with: {error:#}. What installs it: {}",
                peer.name, peer.install
            )),
        }
    }
    for _ in 0..ROUNDS {
        for contestant in &mut all {
            contestant.take_turn()?;
        }
    }

    for contestant in all {
        if let (Some(why), Some(install)) = (contestant.why, contestant.install) {
            report.remarks.push(format!(
                "{} runs of {} failed and are not counted: {why:#}. What installs it: {install}",
                contestant.failed, contestant.name
            ));
        }
        if !contestant.times.is_empty() {
            report
                .samples
                .push(Sample::new(contestant.name, contestant.times));
        }
    }
    for (call, ours, peer, bound) in [
        ("cold", COLD, RUNC, 0.6),
        ("cold", COLD, YOUKI, 0.5),
        ("cold", COLD, BWRAP, 2.0),
        ("warm", WARM, RUNC, 0.12),
    ] {
        let verdict = Verdict {
            what: format!("{call} call, times `{peer}`"),
            measured: report.ratio(ours, peer),
            bound,
            at_most: true,
        };
        report.verdicts.push(verdict);
    }
    Ok(())
}

/// Our own command on the same bundle.
fn whole_process(program: PathBuf, bundle: &Bundle) -> anyhow::Result<Contestant<'_>> {
    let (home, input) = (bundle.home().join("command"), bundle.input_file());
    let command = move || {
        let mut command = Command::new(&program);
        command.arg("run").arg(bundle.tool());
        command.env("AXOCOATL_HOME", &home);
        command
    };
    let printed = process::printed(&mut command(), &input).context(COMMAND)?;
    bundle::check(&printed).context(COMMAND)?;
    Ok(Contestant::ours(COMMAND, move || {
        process::timed(&mut command(), &input)
    }))
}

fn rates(
    bundle: &Bundle,
    runtime: &Arc<tokio::runtime::Runtime>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for pool in [POOL, 0] {
        let ours = Ours::new(bundle, runtime, pool)?;
        for at_once in AT_ONCE {
            ours.call()?;
            ours.wait_until_filled()?;
            let name = format!("Engine::call, {at_once} at once, a pool of {pool}");
            report.rates.push((name, ours.rate(at_once)?));
        }
    }
    Ok(())
}

/// What a container costs that waits: its processes, and what we keep for it.
fn memory(
    bundle: &Bundle,
    runtime: &Arc<tokio::runtime::Runtime>,
    report: &mut Report,
) -> anyhow::Result<()> {
    // What is made once, by the first call, is not a container's.
    Ours::new(bundle, runtime, 0)?.call()?;
    let ours = Ours::new(bundle, runtime, IDLE)?;
    let us = std::process::id();
    let before = Memory::of(us)?;
    ours.call()?;
    ours.wait_until_filled()?;
    let after = Memory::of(us)?;
    let sandboxes = processes::sandboxes()?;
    ensure!(
        sandboxes.len() == IDLE,
        "{IDLE} containers should wait, and {} do",
        sandboxes.len()
    );
    let theirs = Memory::of_all(&sandboxes.concat())?;

    #[expect(clippy::cast_precision_loss, reason = "a small number of containers")]
    let each = |mib: f64| mib / IDLE as f64;
    let engine = each((after.pss - before.pss).max(0.0));
    report.sizes.extend([
        (
            "idle warm container, its processes, PSS".into(),
            each(theirs.pss),
        ),
        (
            "idle warm container, its processes, USS".into(),
            each(theirs.uss),
        ),
        (
            "idle warm container, the engine's growth, PSS".into(),
            engine,
        ),
    ]);
    report.verdicts.push(Verdict {
        what: "memory per idle warm container, PSS, in MiB".into(),
        measured: Some(each(theirs.pss) + engine),
        bound: 3.0,
        at_most: true,
    });
    report.remarks.push(format!(
        "memory is of {IDLE} idle containers, which share the runner's program; \
         the kernel's own, such as namespaces, is not in it"
    ));
    Ok(())
}
