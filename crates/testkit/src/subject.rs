//! The tiers under test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axo_core::{
    Capabilities, EffectiveLimits, Executor, PlacedCall, Readiness, Run, Tier, WasmSource,
};
use axocoatl_isolation::{AuditLog, Compiler, Engine, Places, Policy, machines};

use tokio::sync::OnceCell;

use crate::pace::paced;
use crate::probe;

/// A tier with the probe packed for it.
#[derive(Clone)]
pub struct Subject {
    /// Its name in tables.
    pub name: &'static str,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) run: Run,
    /// Whether tools have `/axocoatl` and `/tmp`.
    pub(crate) files: bool,
    /// Whether every exit status arrives, not just success and failure.
    pub(crate) statuses: bool,
    /// Where calls have their scratch; empty between calls.
    pub(crate) scratch: PathBuf,
    /// Whether each call has a process of ours that supervises it.
    pub(crate) supervised: bool,
    /// Set once a machine with the default limits is stored, where the tier stores machines: calls
    /// with these limits then begin with a clone of it, all others with one that boots.
    stored: Option<Arc<OnceCell<()>>>,
    /// Where it is stored.
    data: PathBuf,
}

/// The subjects, and the directory that all of them work in.
pub struct Subjects {
    /// The subjects.
    pub all: Vec<Subject>,
    _home: tempfile::TempDir,
}

/// The data directory in which tier `microvm` was set up, where the host can run machines.
const MACHINES: &str = "AXO_MACHINES";

impl Subjects {
    /// Every tier there is, as the engine configures it; `microvm` where `AXO_MACHINES` says so.
    #[must_use]
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let places = Places::under(home.path());
        let machines = std::env::var_os(MACHINES).map(PathBuf::from);
        let engine = Engine::builder()
            .places(places.clone())
            .machines(machines.clone().unwrap_or_else(|| places.data.clone()))
            .policy(Policy::default())
            .tool_roots(Vec::new())
            .audit(AuditLog::off())
            // The probe is ours: it does not attack the compiler.
            .compiler(Compiler::InProcess)
            .build()
            .expect("an engine");
        let executor = |tier: Tier| {
            let executors = engine.executors().iter();
            Arc::clone(
                executors
                    .clone()
                    .find(|e| e.tier() == tier)
                    .expect("the tier"),
            )
        };
        let wasm = |name, code, statuses| Subject {
            name,
            executor: executor(Tier::Wasm),
            run: Run::Wasm(WasmSource::Bytes(code)),
            files: true,
            statuses,
            scratch: places.owners(),
            supervised: false,
            stored: None,
            data: places.data.clone(),
        };
        let program = probe::native(home.path());
        let native = Subject {
            name: "none",
            executor: executor(Tier::None),
            run: Run::Command(vec![program.display().to_string()]),
            files: false,
            statuses: true,
            scratch: places.owners(),
            supervised: false,
            stored: None,
            data: places.data.clone(),
        };
        let bundle = probe::bundle(home.path(), &program);
        let oci = Subject {
            name: "oci",
            executor: executor(Tier::Oci),
            run: Run::Bundle(bundle.clone()),
            files: true,
            statuses: true,
            scratch: places.owners(),
            supervised: true,
            stored: None,
            data: places.data.clone(),
        };
        let mut all = vec![
            native,
            wasm("wasm p1", probe::module(), true),
            wasm("wasm p2", probe::component(), false),
            oci,
        ];
        // Hardly a host where tests run can run machines. One that is said to, must.
        if machines.is_some() {
            all.push(Subject {
                name: "microvm",
                executor: executor(Tier::MicroVm),
                run: Run::Bundle(bundle),
                files: true,
                statuses: true,
                scratch: places.owners(),
                supervised: true,
                stored: Some(Arc::default()),
                data: places.data.clone(),
            });
        }
        Self { all, _home: home }
    }
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}

impl Subject {
    /// What the tier says it can do.
    pub(crate) fn capabilities(&self) -> Capabilities {
        match self.executor.readiness() {
            Readiness::Ready(capabilities) => capabilities,
            Readiness::Unavailable { reason, .. } => {
                panic!("{} is not available: {reason}", self.name)
            }
        }
    }

    /// Stores the machine that a call will begin with.
    pub(crate) async fn store(&self, call: &PlacedCall) -> Result<(), String> {
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        if *call.limits() != EffectiveLimits::DEFAULT {
            return Ok(());
        }
        let made = stored.get_or_try_init(|| self.executor.prepare(call)).await;
        made.map(|_| ()).map_err(|e| axo_core::chain(&e))
    }

    /// Whether the stored machine, if there is one, is there still: one that cannot be restored is
    /// removed, and the call then boots another.
    pub(crate) fn keeps_what_is_stored(&self) -> Result<(), String> {
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        let snapshots = machines::kept(&self.data).map_err(|e| axo_core::chain(&e))?;
        match snapshots.iter().find(|files| files.what == "snapshots") {
            Some(files) if stored.initialized() && files.count == 0 => {
                Err("the stored machine cannot be restored".into())
            }
            _ => Ok(()),
        }
    }

    /// What calls left: in their scratch, of all owners, and of processes.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        if self.supervised {
            return leftover_runners();
        }
        let list = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect()
        };
        let in_owner = |owner: &PathBuf| {
            list(owner)
                .into_iter()
                .filter(|path| !path.ends_with("lock"))
        };
        list(&self.scratch).iter().flat_map(in_owner).collect()
    }
}

/// How long what a dropped call leaves may take to be gone: it ends by itself.
const CLEARING_UP: Duration = Duration::from_secs(1);

/// Runners that this process started and that still live.
fn leftover_runners() -> Vec<PathBuf> {
    let started = Instant::now();
    loop {
        let left = runners();
        if left.is_empty() || started.elapsed() > paced(CLEARING_UP) {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runners() -> Vec<PathBuf> {
    let us = std::process::id();
    let is_runner = |path: &PathBuf| {
        let text = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        field("PPid:").is_some_and(|ppid| ppid == us.to_string())
            && field("State:").is_some_and(|state| !state.starts_with('Z'))
            && !field("Name:").is_some_and(|name| name.starts_with("axocoatl"))
    };
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(is_runner)
        .collect()
}
