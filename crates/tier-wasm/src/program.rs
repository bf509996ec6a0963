//! A tool's program, ready to be called: compiled, checked and linked once.

use std::sync::Arc;

use wasmtime::component::{Component, Linker as ComponentLinker};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::code::CodeKind;
use crate::wasi::{CallState, p1, p2};

/// Entry point of a p1 command, from WASI's application ABI.
const START: &str = "_start";

/// A program that can be called any number of times, at once if need be.
pub(crate) struct Program {
    pub(crate) engine: Engine,
    /// `sha256:…` of the code it was compiled from.
    pub(crate) digest: Arc<str>,
    /// Whether it can open files, and so is given `/axocoatl` and `/tmp`.
    pub(crate) has_files: bool,
    entry: Entry,
}

enum Entry {
    Module(InstancePre<CallState>),
    Component(CommandPre<CallState>),
}

/// Why compiled code is no program of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It has no entry point.
    #[error("{0}")]
    NoEntry(&'static str),
    /// It imports what is not there.
    #[error("it imports what tools are not given")]
    Imports(wasmtime::Error),
    /// Anything else.
    #[error("it does not load")]
    Load(wasmtime::Error),
}

impl Program {
    /// Links a module.
    pub(crate) fn from_module(
        engine: &Engine,
        digest: Arc<str>,
        module: &Module,
    ) -> Result<Self, ProgramError> {
        match module.get_export(START) {
            Some(ExternType::Func(f)) if f.params().len() == 0 && f.results().len() == 0 => {}
            _ => {
                return Err(ProgramError::NoEntry(
                    "it has no function `_start`: build it as a WASI command, not as a library",
                ));
            }
        }
        let has_files = module
            .imports()
            .any(|import| import.module() == p1::P1_MODULE && import.name().starts_with("path_"));
        let mut linker = Linker::new(engine);
        p1::add_to(&mut linker, has_files).map_err(ProgramError::Load)?;
        let entry = linker
            .instantiate_pre(module)
            .map_err(ProgramError::Imports)?;
        Ok(Self {
            engine: engine.clone(),
            digest,
            has_files,
            entry: Entry::Module(entry),
        })
    }

    /// Links a component.
    pub(crate) fn from_component(
        engine: &Engine,
        digest: Arc<str>,
        component: &Component,
    ) -> Result<Self, ProgramError> {
        let has_files = component
            .component_type()
            .imports(engine)
            .any(|(name, _)| name.starts_with("wasi:filesystem/"));
        let mut linker = ComponentLinker::new(engine);
        p2::add_to(&mut linker).map_err(ProgramError::Load)?;
        let linked = linker
            .instantiate_pre(component)
            .map_err(ProgramError::Imports)?;
        let entry = CommandPre::new(linked).map_err(|_| {
            ProgramError::NoEntry("it does not export `wasi:cli/run`: build it as a WASI command")
        })?;
        Ok(Self {
            engine: engine.clone(),
            digest,
            has_files,
            entry: Entry::Component(entry),
        })
    }

    /// What its code is.
    pub(crate) fn code(&self) -> CodeKind {
        match &self.entry {
            Entry::Module(_) => CodeKind::Module,
            Entry::Component(_) => CodeKind::Component,
        }
    }

    /// Instantiates the program in `store` and runs it to its end. The inner result is what a
    /// component's `run` returned.
    pub(crate) async fn call(
        &self,
        store: &mut Store<CallState>,
    ) -> wasmtime::Result<Result<(), ()>> {
        match &self.entry {
            Entry::Module(module) => {
                let instance = module.instantiate_async(&mut *store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
                start.call_async(&mut *store, ()).await.map(Ok)
            }
            Entry::Component(component) => {
                let command = component.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(&mut *store).await
            }
        }
    }
}
