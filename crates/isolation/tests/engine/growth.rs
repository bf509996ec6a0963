//! Threat 11: memory, tables and instances cannot grow without end.

use axocoatl_isolation::{CallError, RunError, Termination};
use serde_json::json;

use crate::support::{builder, call, wat};

/// A module whose `_start` is `body`.
fn module(memory: &str, rest: &str, body: &str) -> String {
    format!(
        "(module (memory (export \"memory\") {memory}) {rest} (func (export \"_start\") {body}))"
    )
}

async fn ends(text: &str) -> Termination {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path()).tool(wat("t", text)).build().unwrap();
    engine
        .call(call("t", json!(null)))
        .await
        .unwrap()
        .termination
}

async fn error(text: &str) -> CallError {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path()).tool(wat("t", text)).build().unwrap();
    engine.call(call("t", json!(null))).await.unwrap_err()
}

#[tokio::test]
async fn memory_that_grows_past_the_limit_ends_the_tool() {
    let grow = "(loop $l (drop (memory.grow (i32.const 16))) (br $l))";
    assert_eq!(ends(&module("1", "", grow)).await, Termination::OutOfMemory);
    // 4 GiB at once, and from the start.
    assert_eq!(
        ends(&module("1", "", "(drop (memory.grow (i32.const 65535)))")).await,
        Termination::OutOfMemory
    );
    assert_eq!(
        ends(&module("65536", "", "")).await,
        Termination::OutOfMemory
    );
}

#[tokio::test]
async fn a_modules_own_maximum_is_told_to_it() {
    let body = "(if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))";
    assert_eq!(ends(&module("1 2", "", body)).await, Termination::Exited(0));
}

#[tokio::test]
async fn tables_cannot_grow_past_the_ceiling() {
    let grow = "(loop $l (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $l))";
    let Termination::Trapped(message) = ends(&module("1", "(table $t 1 funcref)", grow)).await
    else {
        panic!("it did not trap");
    };
    assert!(message.contains("table"), "{message}");
    let giant = error(&module("1", "(table $t 10000000 funcref)", "")).await;
    assert!(
        matches!(giant, CallError::Run(RunError::BadTool { .. })),
        "{giant}"
    );
}

#[tokio::test]
async fn a_component_of_too_many_instances_is_refused() {
    let instances = "(core instance (instantiate $m))".repeat(200);
    let text = format!("(component (core module $m) {instances})");
    let refused = error(&text).await;
    assert!(
        matches!(refused, CallError::Run(RunError::BadTool { .. })),
        "{refused}"
    );
}

#[tokio::test]
async fn a_module_of_too_many_memories_is_refused() {
    let refused = error(&module("1", "(memory 1)", "")).await;
    assert!(
        matches!(refused, CallError::Run(RunError::BadTool { .. })),
        "{refused}"
    );
}

#[tokio::test]
async fn randomness_without_measure_is_refused() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1024)
        (func (export "_start")
          (loop $l (drop (call $random (i32.const 0) (i32.const 67108864))) (br $l))))"#;
    let home = tempfile::tempdir().unwrap();
    let mut spec = wat("t", text);
    spec.limits.wall = Some(std::time::Duration::from_millis(500));
    let engine = builder(home.path()).tool(spec).build().unwrap();
    let started = std::time::Instant::now();
    let end = engine
        .call(call("t", json!(null)))
        .await
        .unwrap()
        .termination;
    assert!(!end.is_success(), "{end}");
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "a host call held the thread"
    );
}
