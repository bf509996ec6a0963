//! Our side: an engine in this process, on whose tier `microvm` the tool runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axocoatl_isolation::machines::kept;
use axocoatl_isolation::{
    AuditLog, Engine, Places, Policy, Requirement, Run, Size, Tier, ToolName, ToolSpec,
};
use tokio::runtime::Runtime;

use crate::bundle::{self, Bundle};
use crate::oci::one;
use crate::processes::{sandboxes, wait_for};

/// Memory of the tool. Its machine has some 200 MiB more.
const MEMORY: Size = Size::from_mib(64);
/// How long a pool may take to be filled, and machines to be gone, where processors are emulated.
const FILL_TIME: Duration = Duration::from_secs(300);
/// A machine whose processes are there is still being restored: how long, at the very most.
const SETTLE: Duration = Duration::from_millis(500);
/// The same where processors are emulated.
const SETTLE_EMULATED: Duration = Duration::from_secs(5);

/// Where the bench finds what it needs.
pub(crate) struct Site<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) runtime: Arc<Runtime>,
    /// The data directory in which the tier was set up.
    pub(crate) installed: PathBuf,
    /// Whether this host's processors are emulated.
    pub(crate) emulated: bool,
}

/// An engine as an embedder has it: policed, recorded in a file, in a runtime with threads.
pub(crate) struct Ours<'a> {
    site: &'a Site<'a>,
    engine: Engine,
    name: ToolName,
    places: Places,
    warm: usize,
}

impl<'a> Ours<'a> {
    /// One with files of its own, which keeps `warm` machines ready.
    pub(crate) fn new(site: &'a Site<'a>, called: &str, warm: usize) -> anyhow::Result<Self> {
        let name = ToolName::parse("echo")?;
        let home = site.bundle.home().join(called);
        std::fs::create_dir_all(&home)?;
        let places = Places::under(&home);
        let run = Run::Bundle(site.bundle.path());
        let mut spec = ToolSpec::new(name.clone(), Requirement::ContainerImage, run);
        spec.min_tier = Some(Tier::MicroVm);
        spec.limits.memory = Some(MEMORY);
        let engine = Engine::builder()
            .places(places.clone())
            .machines(site.installed.clone())
            .policy(Policy::default())
            .tool_roots(Vec::new())
            .audit(AuditLog::file(home.join("audit.jsonl")))
            .warm_machines(warm)
            .tool(spec)
            .build()?;
        Ok(Self {
            site,
            engine,
            name,
            places,
            warm,
        })
    }

    /// The engine's data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.places.data
    }

    /// One call, timed.
    pub(crate) fn call(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let outcome = self.site.runtime.block_on(one(&self.engine, &self.name))?;
        let took = started.elapsed();
        bundle::check(&outcome.stdout)?;
        Ok(took)
    }

    /// Whether a machine is stored.
    pub(crate) fn has_stored(&self) -> anyhow::Result<bool> {
        let all = kept(self.data())?;
        Ok(all
            .iter()
            .any(|files| files.what == "snapshots" && files.count > 0))
    }

    /// Has a machine stored that later calls are restored from, and the pool filled from then on.
    pub(crate) fn store(&self) -> anyhow::Result<()> {
        let checked = self.site.runtime.block_on(self.engine.check(&self.name));
        checked.context("storing a machine").map(drop)
    }

    /// One call that finds a machine, timed: waits until the pool is full before and after, so that
    /// nobody who is measured next suffers from that.
    pub(crate) fn warm_call(&self) -> anyhow::Result<Duration> {
        self.wait_until_filled()?;
        let waiting = runners()?;
        let took = self.call()?;
        let left = runners()?;
        ensure!(
            waiting.iter().any(|runner| !left.contains(runner)),
            "no machine that waited was used"
        );
        self.wait_until_filled()?;
        Ok(took)
    }

    /// Waits until as many machines wait as shall. No call of any engine may be under way, and no
    /// other engine may have a pool.
    pub(crate) fn wait_until_filled(&self) -> anyhow::Result<()> {
        wait_for(FILL_TIME, "the pool to be filled", |waiting| {
            waiting >= self.warm
        })?;
        sleep(match self.site.emulated {
            true => SETTLE_EMULATED,
            false => SETTLE,
        });
        Ok(())
    }

    /// Ends what waits, and waits for that.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let _in_the_runtime = self.site.runtime.enter();
        drop(self.engine);
        wait_for(FILL_TIME, "the machines to be gone", |waiting| waiting == 0)
    }
}

/// The runners of the machines that are there.
fn runners() -> anyhow::Result<Vec<u32>> {
    let first = |processes: &Vec<u32>| processes.first().copied();
    Ok(sandboxes()?.iter().filter_map(first).collect())
}
