//! One record a call, whatever becomes of it.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axocoatl_isolation::{AuditLog, CallError};
use serde_json::json;

use crate::support::{ECHO, builder, call, name, records, wat};

#[tokio::test]
async fn every_call_is_recorded_once_before_its_outcome_is_known() {
    let home = tempfile::tempdir().unwrap();
    let spin =
        r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;
    let engine = builder(home.path())
        .tool(wat("echo", ECHO))
        .tool(wat("spin", spin))
        .build()
        .unwrap();

    let ran = engine.call(call("echo", json!({"a": 1}))).await.unwrap();
    assert!(engine.call(call("absent", json!(1))).await.is_err());
    let mut refused = call("echo", json!(1));
    let tier = Some(axocoatl_isolation::Tier::MicroVm);
    refused.options = axocoatl_isolation::CallOptions {
        tier,
        ..Default::default()
    }
    .into();
    assert!(matches!(
        engine.call(refused).await,
        Err(CallError::Denied(_))
    ));
    let dropped = engine.call(call("spin", json!(1)));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), dropped)
            .await
            .is_err()
    );

    let records = records(home.path());
    let results: Vec<_> = records
        .iter()
        .map(|record| record["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["ran", "failed", "refused", "cancelled"]);
    assert_eq!(records[0]["call_id"], ran.call_id.to_string());
    assert_eq!(records[0]["digest"].as_str(), ran.digest.as_deref());
    assert_eq!(records[0]["tier"], "wasm");
    assert!(
        records[1]["error"]
            .as_str()
            .unwrap()
            .contains("there is no tool absent")
    );
    let mode = std::fs::metadata(home.path().join("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn without_a_log_that_can_be_opened_nothing_runs() {
    let home = tempfile::tempdir().unwrap();
    let ran = home.path().join("ran");
    let text = format!(
        "[native.touch]\ncommand = [\"/usr/bin/touch\", {:?}]\n",
        ran.display().to_string()
    );
    let policy = axocoatl_isolation::Policy::parse(&text, "policy.toml").unwrap();
    // /dev/full is no regular file, and a directory cannot be appended to.
    for log in ["/dev/full".into(), home.path().to_owned()] {
        let builder = builder(home.path())
            .audit(AuditLog::file(log))
            .policy(policy.clone());
        let error = builder
            .build()
            .unwrap()
            .call(call("touch", json!(null)))
            .await
            .unwrap_err();
        assert!(
            matches!(error, CallError::Audit { outcome: None, .. }),
            "{error}"
        );
        assert!(!ran.exists(), "it ran unrecorded");
    }
}

#[tokio::test]
async fn records_of_calls_at_once_do_not_mix() {
    let home = tempfile::tempdir().unwrap();
    let engine = std::sync::Arc::new(
        builder(home.path())
            .tool(wat("echo", ECHO))
            .build()
            .unwrap(),
    );
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let engine = std::sync::Arc::clone(&engine);
            tokio::spawn(async move {
                engine
                    .call(call("echo", json!(n)))
                    .await
                    .unwrap()
                    .call_id
                    .to_string()
            })
        })
        .collect();
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.unwrap());
    }
    let mut recorded: Vec<_> = records(home.path())
        .iter()
        .map(|record| record["call_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    recorded.sort();
    assert_eq!(recorded, ids);
    assert_eq!(
        engine.registry().find(&name("echo")).unwrap().spec().name,
        name("echo")
    );
}
