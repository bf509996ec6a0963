//! An engine in a home of its own.

use std::path::Path;

use axocoatl_isolation::{
    AuditLog, Compiler, Engine, EngineBuilder, Places, Policy, Requirement, Run, ToolCall,
    ToolName, ToolSpec, WasmSource,
};
use serde_json::Value;

pub(crate) fn name(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}

pub(crate) fn call(tool: &str, input: Value) -> ToolCall {
    ToolCall::new(name(tool), input)
}

/// A builder whose places are all beneath `home`. Its tools are ours, so they are compiled here.
pub(crate) fn builder(home: &Path) -> EngineBuilder {
    Engine::builder()
        .places(Places::under(home))
        .policy(Policy::default())
        .tool_roots(Vec::new())
        .audit(AuditLog::file(home.join("audit.jsonl")))
        .compiler(Compiler::InProcess)
}

/// A tool from WebAssembly text.
pub(crate) fn wat(tool: &str, text: &str) -> ToolSpec {
    let source = WasmSource::Bytes(text.as_bytes().into());
    ToolSpec::new(name(tool), Requirement::Wasm, Run::Wasm(source))
}

/// Copies standard input to standard output.
pub(crate) const ECHO: &str = include_str!("../../src/proof/echo.wat");

/// The records in the audit log.
pub(crate) fn records(home: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(home.join("audit.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
