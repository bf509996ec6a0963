//! What a tool sees of the host: a WASI context with the call's input, variables and directories.

mod state;

pub(crate) use state::{CallState, Streams};

use wasmtime::Linker;
use wasmtime::component::Linker as ComponentLinker;

/// The module that p1 programs import.
pub(crate) const P1_MODULE: &str = "wasi_snapshot_preview1";

/// Gives modules WASI p1.
pub(crate) fn add_p1(linker: &mut Linker<CallState>, _has_files: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p1::add_to_linker_async(linker, |state| &mut state.wasi)
}

/// Gives components WASI p2.
pub(crate) fn add_p2(linker: &mut ComponentLinker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
