//! Tools, their schemas, and programs that are none.

use axocoatl_isolation::{CallError, FindError, Policy, RunError, Termination};
use serde_json::json;

use crate::support::{ECHO, builder, call, name, wat};

#[tokio::test]
async fn regression_the_published_crate_dropped_the_output_of_wasm_tools() {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path())
        .tool(wat("echo", ECHO))
        .build()
        .unwrap();
    let outcome = engine
        .call(call("echo", json!({"answer": 42})))
        .await
        .unwrap();
    assert_eq!(outcome.document().unwrap().value(), &json!({"answer": 42}));
    assert_eq!(outcome.stdout, br#"{"answer":42}"#);
}

#[tokio::test]
async fn documents_are_checked_before_and_after_the_run() {
    let home = tempfile::tempdir().unwrap();
    let tool = home.path().join("tool");
    std::fs::create_dir(&tool).unwrap();
    std::fs::write(tool.join("echo.wat"), ECHO).unwrap();
    std::fs::write(tool.join("in.json"), r#"{"type": "array"}"#).unwrap();
    std::fs::write(tool.join("out.json"), r#"{"maxItems": 1}"#).unwrap();
    let manifest = "name = \"t\"\n[run]\nwasm = \"echo.wat\"\n[schema]\ninput = \"in.json\"\noutput = \"out.json\"\n";
    std::fs::write(tool.join("tool.toml"), manifest).unwrap();
    let (builder, name) = builder(home.path()).tool_directory(&tool).unwrap();
    let engine = builder.build().unwrap();
    assert_eq!(name.as_str(), "t");

    assert!(engine.call(call("t", json!([1]))).await.is_ok());
    let bad_input = engine.call(call("t", json!({}))).await.unwrap_err();
    assert!(matches!(bad_input, CallError::Input(_)), "{bad_input}");
    let bad_output = engine.call(call("t", json!([1, 2]))).await.unwrap_err();
    assert!(
        matches!(bad_output, CallError::Output { .. }),
        "{bad_output}"
    );
    let outcome = bad_output
        .outcome()
        .expect("what the tool wrote is not lost");
    assert_eq!(outcome.stdout, b"[1,2]");
}

#[tokio::test]
async fn programs_that_are_none_are_errors_that_say_so() {
    let good = ::wat::parse_str(ECHO).unwrap();
    let cases: [(&[u8], &str); 6] = [
        (b"", "neither WebAssembly nor"),
        (b"#!/bin/sh", "neither WebAssembly nor"),
        (&good[..good.len() / 2], "not valid"),
        (b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f", "not valid"),
        (b"(module)", "_start"),
        (b"(component)", "wasi:cli/run"),
    ];
    for (code, problem) in cases {
        let home = tempfile::tempdir().unwrap();
        let mut spec = wat("t", "");
        spec.run =
            axocoatl_isolation::Run::Wasm(axocoatl_isolation::WasmSource::Bytes(code.into()));
        let engine = builder(home.path()).tool(spec).build().unwrap();
        let error = engine.call(call("t", json!(null))).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{problem}: {error}");
        assert!(
            matches!(error, CallError::Run(RunError::BadTool { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_named() {
    let home = tempfile::tempdir().unwrap();
    let text = r#"(module (import "env" "system" (func)) (func (export "_start")))"#;
    let engine = builder(home.path()).tool(wat("t", text)).build().unwrap();
    let error = engine.call(call("t", json!(null))).await.unwrap_err();
    assert!(
        matches!(error, CallError::Run(RunError::NotGranted { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("env::system"), "{error}");
}

#[tokio::test]
async fn a_start_function_is_under_the_same_limits() {
    let home = tempfile::tempdir().unwrap();
    let text = r#"(module (func $f (loop $l (br $l))) (start $f) (memory (export "memory") 1) (func (export "_start")))"#;
    let mut spec = wat("t", text);
    spec.limits.wall = Some(std::time::Duration::from_millis(100));
    let engine = builder(home.path()).tool(spec).build().unwrap();
    assert_eq!(
        engine
            .call(call("t", json!(null)))
            .await
            .unwrap()
            .termination,
        Termination::TimedOut
    );
}

#[tokio::test]
async fn two_tools_of_one_name_are_an_error_when_the_engine_is_built() {
    let home = tempfile::tempdir().unwrap();
    let policy = Policy::parse("[native.echo]\ncommand = [\"/bin/cat\"]\n", "policy.toml").unwrap();
    let built = builder(home.path())
        .policy(policy)
        .tool(wat("echo", ECHO))
        .build();
    assert!(matches!(
        built.err(),
        Some(axocoatl_isolation::BuildError::Tool(FindError::Duplicate { name: n, .. })) if n == name("echo")
    ));
}

#[tokio::test]
async fn an_embedder_must_say_where_hostile_code_is_compiled() {
    let home = tempfile::tempdir().unwrap();
    let built = axocoatl_isolation::Engine::builder()
        .places(axocoatl_isolation::Places::under(home.path()))
        .policy(Policy::default())
        .build();
    assert!(matches!(
        built.err(),
        Some(axocoatl_isolation::BuildError::NoCompiler)
    ));
}

#[tokio::test]
async fn more_calls_than_slots_wait_and_all_end() {
    let home = tempfile::tempdir().unwrap();
    let engine = std::sync::Arc::new(
        builder(home.path())
            .concurrency(2)
            .tool(wat("echo", ECHO))
            .build()
            .unwrap(),
    );
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let engine = std::sync::Arc::clone(&engine);
            tokio::spawn(async move { engine.call(call("echo", json!(n))).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap().termination.is_success());
    }
}
