//! The `microvm` suite: design §7's budgets of tier 3, beside bare Firecracker that boots the same
//! kernel and initramfs.

mod bare;
mod ours;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use crate::bundle::Bundle;
use crate::contestant::{Contestant, compete};
use crate::memory::Memory;
use crate::processes;
use crate::sample::{Report, Verdict};
use bare::{Bare, First};
use ours::{Ours, Site};

const COLD: &str = "Engine::call, cold: a machine boots";
const RESTORED: &str = "Engine::call, restored: a machine is stored";
const WARM: &str = "Engine::call, warm: a machine waits";
const KERNEL: &str = "bare Firecracker, to the kernel's first line";
const INIT: &str = "bare Firecracker, to init's first line";

/// The data directory in which the tier was set up.
const MACHINES: &str = "AXO_MACHINES";
/// Set where processors are emulated.
const EMULATED: &str = "AXO_EMULATED";

/// Everybody's turns. A guest boots in some ten seconds where processors are emulated.
const ROUNDS: usize = 5;
/// Machines that wait where memory is measured.
const IDLE: usize = 16;
/// The name of the file that a machine's memory is mapped from.
const MEMORY_FILE: &str = "memory";

pub(crate) fn suite() -> anyhow::Result<Report> {
    let installed = std::env::var_os(MACHINES).map(PathBuf::from);
    let bundle = Bundle::make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let site = Site {
        bundle: &bundle,
        runtime: Arc::new(runtime),
        installed: installed.with_context(|| {
            format!("{MACHINES} names no data directory in which tier microvm was set up: cargo xtask bench microvm")
        })?,
        emulated: std::env::var_os(EMULATED).is_some(),
    };
    let mut report = Report::default();
    // First: later the engine would grow into memory that it has used before.
    memory(&site, &mut report)?;
    times(&site, &mut report)?;
    report.remarks.extend([
        "bare Firecracker has the machine's kernel, initramfs, disk, vsock, memory and command line, \
         and no jailer, runner, cgroup or API. Init's first line says that it is ready; the kernel, \
         which is silent in our machines, is made to speak where its first line is waited for"
            .into(),
        "a cold call is from the call to the outcome: the machine is jailed and booted, the container \
         is made in it, the tool runs, and nothing of the machine is left"
            .into(),
        "warm calls find a full pool: the time in which it is filled is not counted".into(),
    ]);
    if site.emulated {
        report.remarks.push(
            "this host's processor is emulated, so that times are many times those of a real one, \
             and not all by the same factor: exits to the VMM and page faults of a guest weigh most"
                .into(),
        );
    }
    Ok(report)
}

fn times(site: &Site<'_>, report: &mut Report) -> anyhow::Result<()> {
    let cold = Ours::new(site, "cold", 0)?;
    let restored = Ours::new(site, "restored", 0)?;
    let warm = Ours::new(site, "warm", 1)?;
    // What is made once, and the first filling, are not counted.
    cold.call()?;
    restored.store()?;
    restored.call()?;
    warm.store()?;
    warm.wait_until_filled()?;
    let bare = &Bare::new(&site.installed, restored.data(), site.bundle.home())?;

    let peer = |name, first| {
        let run = move || bare.boot(first);
        Contestant::peer(name, "axocoatl microvm setup", run).runs(1)
    };
    let all = vec![
        Contestant::ours(COLD, || cold.call()).runs(1),
        peer(INIT, First::Init),
        peer(KERNEL, First::Kernel),
        Contestant::ours(RESTORED, || restored.call()).runs(2),
        Contestant::ours(WARM, || warm.warm_call()).runs(2),
    ];
    compete(all, ROUNDS, report)?;
    warm.end()?;
    // What cannot be restored is removed, and the calls boot.
    for (calls, stored) in [(&cold, false), (&restored, true)] {
        ensure!(
            calls.has_stored()? == stored,
            "what calls beneath {} began with is not what it should be",
            calls.data().display()
        );
    }
    for (what, ours, other, bound) in [
        (
            "cold call, times bare Firecracker to init's first line",
            COLD,
            INIT,
            1.2,
        ),
        ("warm call, times cold", WARM, COLD, 0.1),
    ] {
        report.verdicts.push(Verdict {
            what: what.into(),
            measured: report.ratio(ours, other),
            bound,
            at_most: true,
        });
    }
    Ok(())
}

/// What a machine costs that waits: its processes, and what we keep for it.
fn memory(site: &Site<'_>, report: &mut Report) -> anyhow::Result<()> {
    // What is made once, by the first call, is not a machine's.
    Ours::new(site, "first", 0)?.call()?;
    let ours = Ours::new(site, "idle", IDLE)?;
    let us = std::process::id();
    let before = Memory::of(us)?;
    ours.store()?;
    ours.wait_until_filled()?;
    let after = Memory::of(us)?;
    let machines = processes::sandboxes()?;
    ensure!(
        machines.len() == IDLE,
        "{IDLE} machines should wait, and {} do",
        machines.len()
    );
    let all = Memory::of_all(&machines.concat())?;
    let mut guests = Memory::default();
    for machine in &machines {
        let mut mapped = 0.0;
        for process in machine {
            let (memory, size) = Memory::of_file(*process, MEMORY_FILE)?;
            guests.pss += memory.pss;
            guests.uss += memory.uss;
            mapped += size;
        }
        ensure!(mapped > 1.0, "a machine's memory is not where it was");
    }
    ours.end()?;

    #[expect(clippy::cast_precision_loss, reason = "a small number of machines")]
    let each = |mib: f64| mib / IDLE as f64;
    let engine = each((after.pss - before.pss).max(0.0));
    let beside = each(all.pss - guests.pss);
    let sizes = [
        ("its guest's pages, PSS", each(guests.pss)),
        ("its guest's own pages, USS", each(guests.uss)),
        ("beside its guest's pages, PSS", beside),
        ("beside its guest's pages, USS", each(all.uss - guests.uss)),
        ("the engine's growth, PSS", engine),
    ];
    let named = |(what, mib): (&str, f64)| (format!("idle warm machine, {what}"), mib);
    report.sizes.extend(sizes.map(named));
    report.verdicts.push(Verdict {
        what: "memory per idle warm machine beside its guest's, in MiB".into(),
        measured: Some(beside + engine),
        bound: 8.0,
        at_most: true,
    });
    report.remarks.push(format!(
        "memory is of {IDLE} idle clones of one stored machine, whose pages are shared until one writes \
         to them; beside these are Firecracker, its guard and its runner. The kernel's own, such as a \
         machine's page tables, is not in it"
    ));
    Ok(())
}
