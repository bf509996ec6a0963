//! The tier as the engine sees it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axo_core::{
    BoxFuture, Capabilities, Executor, Form, GrantKind, LimitKind, Outcome, PlacedCall, Readiness,
    RunError, Tier,
};
use tokio::sync::Semaphore;

use crate::compiler::Compiler;
use crate::engines::Engines;
use crate::failed::{host, invoke_failed};
use crate::invoke::invoke;
use crate::loader::Loader;
use crate::program::Program;
use crate::scratch::Scratch;
use crate::ticker::Ticker;

/// What the tier runs, enforces and grants.
const CAPABILITIES: Capabilities = Capabilities {
    forms: &[Form::Wasm],
    // `pids` holds by construction: a program has one thread and cannot start another.
    limits: &LimitKind::ALL,
    grants: &[GrantKind::Env, GrantKind::Mounts],
};

/// Gives the directory under which calls have their scratch. Called by the first call that needs
/// one; the directory must be ours alone and be reaped if we die.
pub type ScratchRoot = Arc<dyn Fn() -> io::Result<PathBuf> + Send + Sync>;

/// How the tier works on this host.
#[derive(Clone)]
pub struct WasmConfig {
    /// Where compiled code is kept; `None` compiles anew in every process.
    pub cache: Option<PathBuf>,
    /// Where calls have their files.
    pub scratch: ScratchRoot,
    /// Where code is compiled.
    pub compiler: Compiler,
    /// Most calls at once; further ones wait. Each takes 4 GiB of address
    /// space, a component 40 GiB; not of memory.
    pub concurrency: u32,
}

/// Tier 1.
pub struct WasmExecutor {
    /// Before the ticker, whose thread ends when it is woken and finds the engines gone.
    loader: Loader,
    ticker: Ticker,
    turns: Semaphore,
    scratch: ScratchRoot,
}

impl WasmExecutor {
    /// A tier that works as `config` says. Does nothing until the first call.
    #[must_use]
    pub fn new(config: WasmConfig) -> Self {
        let slots = config.concurrency.max(1);
        let engines = Arc::new(Engines::new(slots));
        Self {
            ticker: Ticker::new(&engines),
            loader: Loader::new(engines, config.compiler, config.cache),
            turns: Semaphore::new(slots as usize),
            scratch: config.scratch,
        }
    }

    async fn run_call(&self, call: PlacedCall) -> Result<Outcome, RunError> {
        let program = self
            .loader
            .program(call.spec(), call.limits().fuel.is_some())
            .await?;
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|e| host("waiting for a turn", e))?;
        let _ticking = self.ticker.run().map_err(|e| {
            host(
                "starting the epoch thread",
                io::Error::new(e.kind(), e.to_string()),
            )
        })?;
        // It outlives the program, whose open files are in it.
        let scratch = self.scratch_for(&program, &call)?;
        let finished = invoke(&program, &call, scratch.as_ref())
            .await
            .map_err(|e| invoke_failed(call.spec(), e))?;
        Ok(call.conclude(finished))
    }

    fn scratch_for(
        &self,
        program: &Program,
        call: &PlacedCall,
    ) -> Result<Option<Scratch>, RunError> {
        if !program.has_files {
            return Ok(None);
        }
        let root = (self.scratch)().map_err(|e| host("making the scratch directory", e))?;
        Scratch::create(
            &root,
            &call.id().to_string(),
            call.input().text().as_bytes(),
        )
        .map(Some)
        .map_err(|e| host("making the scratch directory of the call", e))
    }
}

impl Executor for WasmExecutor {
    fn tier(&self) -> Tier {
        Tier::Wasm
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready(CAPABILITIES)
    }

    fn run(&self, call: PlacedCall) -> BoxFuture<'_, Result<Outcome, RunError>> {
        Box::pin(self.run_call(call))
    }

    fn prepare<'a>(&'a self, call: &'a PlacedCall) -> BoxFuture<'a, Result<(), RunError>> {
        let program = self
            .loader
            .program(call.spec(), call.limits().fuel.is_some());
        Box::pin(async move { program.await.map(|_| ()) })
    }
}
