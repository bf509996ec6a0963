//! Compiles a tool's code. It is the part that reads hostile bytes, so it runs where
//! [`crate::Compiler`] says: in a limited process of its own.

use wasmtime::Engine;

use crate::code::{CodeKind, MAX_CODE_BYTES};
use crate::engines::EngineKind;

/// Compiles `code`, binary or text, for engines of `kind`.
///
/// # Errors
/// A sentence saying what is wrong with the code.
pub(crate) fn compile(kind: EngineKind, code: &[u8]) -> Result<Vec<u8>, String> {
    if code.len() > MAX_CODE_BYTES {
        return Err(format!("it has more than {MAX_CODE_BYTES} bytes"));
    }
    let binary = wat::parse_bytes(code).map_err(|e| format!("its text has an error: {e}"))?;
    let engine = kind
        .compiling_engine()
        .map_err(|e| format!("no compiler: {e:#}"))?;
    precompile(&engine, kind.code, &binary).map_err(|e| format!("it is not valid: {e:#}"))
}

fn precompile(engine: &Engine, kind: CodeKind, binary: &[u8]) -> wasmtime::Result<Vec<u8>> {
    match kind {
        CodeKind::Module => engine.precompile_module(binary),
        CodeKind::Component => engine.precompile_component(binary),
    }
}
