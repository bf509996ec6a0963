//! Our side: an engine in this process.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axocoatl_isolation::{
    AuditLog, Engine, Outcome, Places, Policy, Requirement, Run, ToolCall, ToolName, ToolSpec,
};
use tokio::runtime::Runtime;

use crate::bundle::{self, Bundle};
use crate::processes::wait_for;

/// How long a rate is measured.
const RATE_TIME: Duration = Duration::from_secs(3);
/// A container whose processes are there still prepares itself for about as long as it takes to make.
const SETTLE: Duration = Duration::from_millis(40);
/// How long a pool may take to be filled, or its containers to be gone.
const FILL_TIME: Duration = Duration::from_secs(30);

/// An engine as an embedder has it: policed, recorded in a file, in a runtime with threads.
pub(crate) struct Ours {
    engine: Arc<Engine>,
    name: ToolName,
    runtime: Arc<Runtime>,
    warm: usize,
}

impl Ours {
    /// One that keeps `warm` containers ready. Waits until those of an engine before it are gone.
    pub(crate) fn new(
        bundle: &Bundle,
        runtime: &Arc<Runtime>,
        warm: usize,
    ) -> anyhow::Result<Self> {
        wait_for(
            FILL_TIME,
            "the containers of an engine before to be gone",
            |waiting| warm == 0 || waiting == 0,
        )?;
        let name = ToolName::parse("echo")?;
        let home = bundle.home().join(format!("ours-{warm}"));
        std::fs::create_dir_all(&home)?;
        let engine = Engine::builder()
            .places(Places::under(&home))
            .policy(Policy::default())
            .tool_roots(Vec::new())
            .audit(AuditLog::file(home.join("audit.jsonl")))
            .warm_containers(warm)
            .tool(ToolSpec::new(
                name.clone(),
                Requirement::ContainerImage,
                Run::Bundle(bundle.path()),
            ))
            .build()?;
        Ok(Self {
            engine: Arc::new(engine),
            name,
            runtime: Arc::clone(runtime),
            warm,
        })
    }

    /// One call, timed.
    pub(crate) fn call(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let outcome = self.runtime.block_on(one(&self.engine, &self.name))?;
        let took = started.elapsed();
        bundle::check(&outcome.stdout)?;
        Ok(took)
    }

    /// One call that finds a container, timed: waits until the pool is full first.
    pub(crate) fn warm_call(&self) -> anyhow::Result<Duration> {
        self.wait_until_filled()?;
        self.call()
    }

    /// Waits until as many containers wait as shall. No call of any engine may be under way, and no
    /// other engine may have a pool.
    pub(crate) fn wait_until_filled(&self) -> anyhow::Result<()> {
        wait_for(FILL_TIME, "the pool to be filled", |waiting| {
            waiting >= self.warm
        })?;
        sleep(SETTLE);
        Ok(())
    }

    /// Calls a second with `at_once` of them under way.
    pub(crate) fn rate(&self, at_once: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                let (engine, name) = (Arc::clone(&self.engine), self.name.clone());
                self.runtime.spawn(async move {
                    let mut calls = 0;
                    while started.elapsed() < RATE_TIME {
                        one(&engine, &name).await?;
                        calls += 1;
                    }
                    anyhow::Ok(calls)
                })
            })
            .collect();
        let mut calls = 0.0;
        for worker in workers {
            calls += f64::from(self.runtime.block_on(worker)??);
        }
        Ok(calls / started.elapsed().as_secs_f64())
    }
}

/// One call that succeeds.
pub(crate) async fn one(engine: &Engine, name: &ToolName) -> anyhow::Result<Outcome> {
    let call = ToolCall::new(name.clone(), bundle::input());
    let outcome = engine.call(call).await.context("a call of ours failed")?;
    ensure!(
        outcome.termination.is_success(),
        "the echo failed: {}: {}",
        outcome.termination,
        String::from_utf8_lossy(&outcome.stderr).trim()
    );
    Ok(outcome)
}
