//! The `session` suite: design §7's budget of a session's commands, beside `podman exec` in the same
//! container; many commands at once; and many sessions at once, with what each costs.

mod site;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axocoatl_isolation::sessions::{Run, Session, Status};
use tokio::runtime::Runtime;

use crate::contestant::{Contestant, compete};
use crate::memory::Memory;
use crate::process;
use crate::sample::{Report, Sample, Verdict};
use site::Site;

const EXEC: &str = "Session::output of `true`";
const COMMAND: &str = "axocoatl session exec, whole process";
const PODMAN: &str = "podman exec of the same";
const CREATE: &str = "Sessions::create";
const REMOVE: &str = "Sessions::remove";

const ROUNDS: usize = 20;
/// Runs of podman in a round: it takes many times as long.
const FEW: usize = 5;
/// Commands at once.
const AT_ONCE: [usize; 4] = [1, 8, 100, 1000];
/// How many commands of each rate.
const COMMANDS: usize = 2000;
/// Sessions at once.
const SESSIONS: usize = 100;
/// What is kept of a command's output, in bytes.
const KEEP: usize = 1 << 10;

pub(crate) fn suite() -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let runtime = Arc::new(runtime);
    let site = Site::make()?;
    let mut report = Report::default();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    report.remarks.push(format!(
        "the machine's load at the start was {} on {} cores",
        load.split(' ').next().unwrap_or_default(),
        std::thread::available_parallelism()?
    ));
    let session = runtime.block_on(site.session())?;
    times(&site, &session, &runtime, &mut report)?;
    rates(&session, &runtime, &mut report)?;
    runtime.block_on(site.remove(&session))?;
    many(&site, &runtime, &mut report)?;
    Ok(report)
}

/// One command, and its end.
async fn exec(session: &Session) -> anyhow::Result<()> {
    let finished = session.output(Run::new(["/bin/true"]), KEEP).await?;
    ensure!(
        finished.exited.status == Status::Code(0),
        "`true` ended with {:?}",
        finished.exited.status
    );
    Ok(())
}

fn times(
    site: &Site,
    session: &Session,
    runtime: &Arc<Runtime>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let container = session.record().id.container();
    let ours = || {
        let started = Instant::now();
        runtime.block_on(exec(session))?;
        Ok(started.elapsed())
    };
    let mut all = vec![Contestant::ours(EXEC, ours)];
    match std::env::var_os("AXO_COMMAND") {
        Some(program) => {
            let program = PathBuf::from(program);
            let (id, home) = (session.record().id, site.home());
            let command = move || {
                let mut command = Command::new(&program);
                command.args(["session", "exec", id.as_str(), "--", "/bin/true"]);
                command.env("AXOCOATL_HOME", &home);
                process::timed(&mut command, "/dev/null".as_ref())
            };
            command().context(COMMAND)?;
            all.push(Contestant::ours(COMMAND, command));
        }
        None => report
            .remarks
            .push("AXO_COMMAND is not set: the whole process was not measured".into()),
    }
    let podman = move || {
        let mut command = Command::new("podman");
        command.args(["exec", &container, "/bin/true"]);
        process::timed(&mut command, "/dev/null".as_ref())
    };
    all.push(Contestant::peer(PODMAN, "apt-get install podman runc", podman).runs(FEW));
    compete(all, ROUNDS, report)?;
    for (share, called) in [(0.5, "median"), (0.99, "p99")] {
        for ours in [EXEC, COMMAND] {
            report.verdicts.push(Verdict {
                what: format!("{ours}, {called}, times `{PODMAN}`"),
                measured: report.ratio_at(share, ours, PODMAN),
                bound: 0.05,
                at_most: true,
            });
        }
    }
    Ok(())
}

fn rates(session: &Session, runtime: &Arc<Runtime>, report: &mut Report) -> anyhow::Result<()> {
    for at_once in AT_ONCE {
        let started = Instant::now();
        let times = runtime.block_on(crowd(session, at_once))?;
        let took = started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a small number of commands")]
        let rate = times.len() as f64 / took;
        report
            .rates
            .push((format!("{EXEC}, {at_once} at once"), rate));
        report
            .samples
            .push(Sample::new(format!("{EXEC}, {at_once} at once"), times));
    }
    Ok(())
}

/// [`COMMANDS`] commands, so many at once, and how long each took.
async fn crowd(session: &Session, at_once: usize) -> anyhow::Result<Vec<Duration>> {
    let workers = (0..at_once).map(|_| {
        let session = session.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..COMMANDS.div_ceil(at_once) {
                let started = Instant::now();
                exec(&session).await?;
                times.push(started.elapsed());
            }
            anyhow::Ok(times)
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.extend(worker.await??);
    }
    Ok(all)
}

/// Many sessions, each of which runs a command while all are there.
fn many(site: &Site, runtime: &Arc<Runtime>, report: &mut Report) -> anyhow::Result<()> {
    let (mut sessions, mut made, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    let us = std::process::id();
    let before = Memory::of(us)?;
    for _ in 0..SESSIONS {
        let started = Instant::now();
        sessions.push(runtime.block_on(site.session())?);
        made.push(started.elapsed());
    }
    let after = Memory::of(us)?;
    let started = Instant::now();
    runtime.block_on(async {
        let all = sessions.iter().map(|session| {
            let session = session.clone();
            tokio::spawn(async move { exec(&session).await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await??;
        }
        anyhow::Ok(())
    })?;
    report.samples.push(Sample::new(
        format!("a command in each of {SESSIONS} sessions at once, all of them"),
        vec![started.elapsed()],
    ));
    let processes = sessions
        .iter()
        .map(site::processes)
        .collect::<anyhow::Result<Vec<_>>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a small number of sessions")]
    let each = |mib: f64| mib / SESSIONS as f64;
    let agents: Vec<u32> = processes.iter().map(|found| found.agent).collect();
    let monitors: Vec<u32> = processes.iter().map(|found| found.monitor).collect();
    for (what, memory) in [
        ("the agent", Memory::of_all(&agents)?),
        ("podman's monitor", Memory::of_all(&monitors)?),
    ] {
        report
            .sizes
            .push((format!("idle session, {what}, PSS"), each(memory.pss)));
        report
            .sizes
            .push((format!("idle session, {what}, USS"), each(memory.uss)));
    }
    report.sizes.push((
        "idle session, the growth of its host process, PSS".into(),
        each((after.pss - before.pss).max(0.0)),
    ));
    for session in sessions {
        let started = Instant::now();
        runtime.block_on(site.remove(&session))?;
        removed.push(started.elapsed());
    }
    report
        .samples
        .push(Sample::new(format!("{CREATE}, {SESSIONS} in a row"), made));
    report.samples.push(Sample::new(
        format!("{REMOVE}, {SESSIONS} in a row"),
        removed,
    ));
    report.remarks.push(format!(
        "memory is of {SESSIONS} sessions in which nothing runs but the agent; the kernel's own, such \
         as namespaces and mounts, is not in it"
    ));
    Ok(())
}
