//! The `oci` suite: design §7's budgets of tier 2, for the same bundle run by everyone.
//!
//! A peer that is absent or fails costs its verdicts, which are then missing; that we fail is an error.

mod ours;
mod peers;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use crate::bundle::{self, Bundle};
use crate::contestant::{Contestant, compete};
use crate::memory::Memory;
use crate::sample::{Report, Verdict};
use crate::{process, processes};
use ours::Ours;
pub(crate) use ours::one;
use peers::{BWRAP, RUNC, YOUKI};

const COLD: &str = "Engine::call, cold";
const WARM: &str = "Engine::call, warm: a container waits";
const COMMAND: &str = "axocoatl run, whole process";

const ROUNDS: usize = 20;
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
            Ok(()) => {
                let (number, input) = (Cell::new(0), bundle.input_file());
                let run = move || {
                    number.set(number.get() + 1);
                    let id = format!("run-{}", number.get());
                    process::timed(&mut (peer.command)(bundle, &id), &input)
                };
                let contestant = Contestant::peer(peer.name, peer.install, run);
                all.push(match peer.runs {
                    Some(runs) => contestant.runs(runs),
                    None => contestant,
                });
            }
            Err(error) => report.remarks.push(format!(
                "{} is not compared with: {error:#}. What installs it: {}",
                peer.name, peer.install
            )),
        }
    }
    compete(all, ROUNDS, report)?;
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
