//! The `wasm` suite: design §7's three budgets of tier 1.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use axocoatl_isolation::{
    AuditLog, Engine, Places, Policy, Requirement, Run, ToolCall, ToolName, ToolSpec, WasmSource,
};
use serde_json::json;

use crate::bare::Bare;
use crate::process::timed;
use crate::sample::{Report, Sample, Verdict};

const ECHO: &str = include_str!("../../../../isolation/src/proof/echo.wat");
/// Calls in process: enough for a steady p99.
const CALLS: usize = 20_000;
/// Calls that are not counted, so that pools and caches are warm.
const WARM_UP: usize = 2_000;
/// Calls between switching from one to the other, so that both see the same machine.
const BATCH: usize = 500;
/// How long a rate is measured.
const RATE_TIME: Duration = Duration::from_secs(2);
/// Runs of each whole process.
const PROCESSES: usize = 300;

pub(crate) fn suite() -> anyhow::Result<Report> {
    let home = tempfile::tempdir()?;
    let mut report = Report::default();
    in_process(home.path(), &mut report)?;
    rates(home.path(), &mut report)?;
    whole_process(home.path(), &mut report)?;
    Ok(report)
}

fn echo_name() -> anyhow::Result<ToolName> {
    Ok(ToolName::parse("echo")?)
}

/// An engine as an embedder has it: pooled, policed, recorded in a file.
fn engine(home: &Path) -> anyhow::Result<Arc<Engine>> {
    let spec = ToolSpec::new(
        echo_name()?,
        Requirement::Wasm,
        Run::Wasm(WasmSource::Bytes(ECHO.as_bytes().into())),
    );
    let engine = Engine::builder()
        .places(Places::under(home))
        .policy(Policy::default())
        .tool_roots(Vec::new())
        .audit(AuditLog::file(home.join("audit.jsonl")))
        .tool(spec)
        .build()?;
    Ok(Arc::new(engine))
}

async fn call(engine: &Engine, name: &ToolName) -> anyhow::Result<()> {
    let outcome = engine
        .call(ToolCall::new(
            name.clone(),
            json!({"text": "to be or not to be"}),
        ))
        .await?;
    ensure!(
        outcome.termination.is_success(),
        "the echo failed: {}",
        outcome.termination
    );
    black_box(outcome);
    Ok(())
}

fn in_process(home: &Path, report: &mut Report) -> anyhow::Result<()> {
    let (engine, name) = (engine(home)?, echo_name()?);
    let bare = Bare::new(ECHO.as_bytes())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..(WARM_UP + CALLS) / BATCH {
        let counted = round >= WARM_UP / BATCH;
        let batch = runtime.block_on(async {
            let mut batch = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let started = Instant::now();
                call(&engine, &name).await?;
                batch.push(started.elapsed());
            }
            anyhow::Ok(batch)
        })?;
        // The bare call is synchronous, its fastest form, and may not run inside a runtime.
        for _ in 0..BATCH {
            let started = Instant::now();
            // The same document, made anew as a caller's would be.
            let input = json!({"text": "to be or not to be"}).to_string();
            black_box(bare.call(&input)?);
            if counted {
                theirs.push(started.elapsed());
            }
        }
        if counted {
            ours.extend(batch);
        }
    }
    let ours = Sample::new("Engine::call of an echo, in process", ours);
    let theirs = Sample::new("bare Wasmtime, pooled, of the same echo", theirs);
    report.verdicts.push(Verdict {
        what: "in-process call, times the bare one".into(),
        measured: Some(ours.median().as_secs_f64() / theirs.median().as_secs_f64()),
        bound: 2.0,
        at_most: true,
    });
    report.samples.extend([ours, theirs]);
    Ok(())
}

fn rates(home: &Path, report: &mut Report) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let engine = engine(home)?;
    // Taken in turn and twice, the better of each kept: other work on the machine only slows.
    let (mut one, mut all) = (0.0_f64, 0.0_f64);
    for _ in 0..2 {
        one = one.max(rate(&engine, 1)?);
        all = all.max(rate(&engine, cores)?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let cores_f = cores as f64;
    report.rates.push(("Engine::call, one core".into(), one));
    report
        .rates
        .push((format!("Engine::call, {cores} cores"), all));
    report.verdicts.push(Verdict {
        what: format!("rate on {cores} cores, of {cores} times that on one"),
        measured: Some(all / (cores_f * one)),
        bound: 0.8,
        at_most: false,
    });
    Ok(())
}

/// Calls a second from `threads` threads at once.
fn rate(engine: &Arc<Engine>, threads: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let engine = Arc::clone(engine);
            std::thread::spawn(move || -> anyhow::Result<u32> {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let name = echo_name()?;
                runtime.block_on(async {
                    let mut calls = 0;
                    while started.elapsed() < RATE_TIME {
                        call(&engine, &name).await?;
                        calls += 1;
                    }
                    Ok(calls)
                })
            })
        })
        .collect();
    let mut calls = 0.0;
    for worker in workers {
        calls += f64::from(
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))??,
        );
    }
    Ok(calls / started.elapsed().as_secs_f64())
}

fn whole_process(home: &Path, report: &mut Report) -> anyhow::Result<()> {
    let Some(ours) = std::env::var_os("AXO_COMMAND").map(PathBuf::from) else {
        report
            .remarks
            .push("AXO_COMMAND is not set: the whole process was not measured".into());
        return Ok(());
    };
    let module = home.join("echo.wasm");
    std::fs::write(&module, wat::parse_str(ECHO)?)?;
    let input = home.join("input.json");
    std::fs::write(&input, r#"{"text":"to be or not to be"}"#)?;

    let run_ours = || {
        timed(
            Command::new(&ours)
                .arg("run")
                .arg(&module)
                .env("AXOCOATL_HOME", home),
            &input,
        )
    };
    let theirs = std::env::var_os("AXO_WASMTIME").map(PathBuf::from);
    let compiled = home.join("echo.cwasm");
    if let Some(wasmtime) = &theirs {
        let status = Command::new(wasmtime)
            .arg("compile")
            .arg("-o")
            .arg(&compiled)
            .arg(&module)
            .status()?;
        ensure!(status.success(), "wasmtime compile failed");
    }
    // The first run compiles; it is not counted.
    run_ours()?;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..PROCESSES {
        our_times.push(run_ours()?);
        if let Some(wasmtime) = &theirs {
            let command = &mut Command::new(wasmtime);
            their_times.push(timed(
                command.args(["run", "--allow-precompiled"]).arg(&compiled),
                &input,
            )?);
        }
    }
    let ours = Sample::new("axocoatl run of a cached echo, whole process", our_times);
    report.verdicts.push(Verdict {
        what: "whole process, in ms".into(),
        measured: Some(ours.median().as_secs_f64() * 1e3),
        bound: 8.0,
        at_most: true,
    });
    let theirs = theirs.map(|_| {
        Sample::new(
            "wasmtime run of the same, precompiled, whole process",
            their_times,
        )
    });
    report.verdicts.push(Verdict {
        what: "whole process, times `wasmtime run`".into(),
        measured: theirs
            .as_ref()
            .map(|theirs| ours.median().as_secs_f64() / theirs.median().as_secs_f64()),
        bound: 1.5,
        at_most: true,
    });
    if theirs.is_none() {
        report
            .remarks
            .push("AXO_WASMTIME is not set: there is no wasmtime command to compare with".into());
    }
    report.samples.extend(theirs.into_iter().chain([ours]));
    Ok(())
}
