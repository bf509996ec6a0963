//! Tier `none`: functions of the embedding program and commands on the operator's list.

use std::time::Duration;

use axocoatl_isolation::{CallError, DenyReason, Policy, Termination, Tier};
use serde_json::{Value, json};

use crate::support::{builder, call, name};

#[tokio::test]
async fn a_registered_function_is_a_tool() {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path())
        .function(name("double"), |input: Value| async move {
            let n = input["n"].as_i64().ok_or("n is missing")?;
            Ok(json!({"n": 2 * n}))
        })
        .build()
        .unwrap();
    let outcome = engine.call(call("double", json!({"n": 21}))).await.unwrap();
    assert_eq!(
        (outcome.tier, outcome.document().unwrap().value()),
        (Tier::None, &json!({"n": 42}))
    );
    let failed = engine.call(call("double", json!({}))).await.unwrap();
    assert_eq!(
        (failed.termination, failed.stderr),
        (Termination::Exited(1), b"n is missing".to_vec())
    );
}

#[tokio::test]
async fn a_function_is_held_to_its_time() {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path())
        .function(name("slow"), |_| async { std::future::pending().await })
        .build()
        .unwrap();
    let mut slow = call("slow", json!(null));
    let mut options = axocoatl_isolation::CallOptions::default();
    options.limits.wall = Some(Duration::from_millis(50));
    slow.options = options.into();
    assert_eq!(
        engine.call(slow).await.unwrap().termination,
        Termination::TimedOut
    );
}

#[tokio::test]
async fn a_function_that_is_to_be_limited_in_memory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let engine = builder(home.path())
        .function(name("f"), |v| async { Ok(v) })
        .build()
        .unwrap();
    let mut limited = call("f", json!(null));
    let mut options = axocoatl_isolation::CallOptions::default();
    options.limits.memory = Some(axocoatl_isolation::Size::from_mib(1));
    limited.options = options.into();
    let error = engine.call(limited).await.unwrap_err();
    let CallError::Denied(denied) = error else {
        panic!("{error}")
    };
    assert!(matches!(denied.reason, DenyReason::NoTier(_)), "{denied}");
    assert!(
        denied.to_string().contains("cannot enforce limit memory"),
        "{denied}"
    );
}

#[tokio::test]
async fn a_command_on_the_list_runs_and_what_it_leaves_running_ends_with_it() {
    let home = tempfile::tempdir().unwrap();
    let marker = home.path().join("marker");
    let script = format!(
        "cat; (sleep 5; touch {}) >/dev/null 2>&1 &",
        marker.display()
    );
    let text = format!(
        "[native.cat]\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n[native.lost]\ncommand = [\"/no/such/program\"]\n"
    );
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    let engine = builder(home.path()).policy(policy).build().unwrap();
    let outcome = engine.call(call("cat", json!({"x": [1]}))).await.unwrap();
    assert_eq!(outcome.document().unwrap().value(), &json!({"x": [1]}));
    assert!(engine.call(call("lost", json!(null))).await.is_err());
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert!(
        !marker.exists(),
        "a process that the command started outlived it"
    );
}
