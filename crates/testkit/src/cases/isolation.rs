//! What tools must not reach, and what calls must not leave.

use std::net::TcpListener;
use std::time::Duration;

use axo_core::{Document, ToolOutput};
use serde_json::json;

use super::Need::{Files, Wall};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

pub(super) const CASES: &[Case] = &[
    case!(
        nothing_remains_of_an_earlier_call,
        "threat 15",
        [Files],
        Sabotage::Outcome(|outcome| {
            outcome.output = ToolOutput::Document(Document::from(json!({"found": true})));
        }),
        |rig| {
            // Many times: pooled memory is handed out again.
            for _ in 0..20 {
                let outcome = rig
                    .call(Request::new(
                        "residue",
                        json!({"canary": "axocoatl-canary-7f3a"}),
                    ))
                    .await?;
                same(
                    "the search",
                    output(&outcome)?["found"].as_bool(),
                    Some(false),
                )?;
            }
            Ok(())
        }
    ),
    case!(
        there_is_no_network,
        "threat 35",
        [Wall],
        Sabotage::Outcome(|outcome| {
            outcome.output =
                ToolOutput::Document(Document::from(json!({"tcp": 0, "unix": 0, "vsock": 0})));
        }),
        |rig| {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
            let port = listener.local_addr().map_err(|e| e.to_string())?.port();
            let home = tempfile::tempdir().map_err(|e| e.to_string())?;
            let socket = home.path().join("s");
            let _unix =
                std::os::unix::net::UnixListener::bind(&socket).map_err(|e| e.to_string())?;
            let outcome = rig
                .call(Request::new(
                    "connect",
                    json!({"port": port, "unix": socket}),
                ))
                .await?;
            let found = output(&outcome)?;
            ensure(
                ["tcp", "unix", "vsock"]
                    .iter()
                    .all(|how| found[how].as_i64().is_some_and(|errno| errno != 0)),
                || format!("it connected: {found}"),
            )?;
            listener.set_nonblocking(true).map_err(|e| e.to_string())?;
            ensure(listener.accept().is_err(), || "a connection arrived".into())
        }
    ),
    case!(
        randomness_differs_between_calls,
        "threat 34",
        [],
        Sabotage::Outcome(|outcome| {
            outcome.output = ToolOutput::Document(Document::from(json!({"hex": "00"})));
        }),
        |rig| {
            let first = output(&rig.call(Request::new("random", json!({}))).await?)?;
            let second = output(&rig.call(Request::new("random", json!({}))).await?)?;
            ensure(first["hex"].is_string() && first != second, || {
                format!("{first} and {second}")
            })
        }
    ),
    case!(
        a_dropped_call_ends_and_leaves_nothing,
        "§1 nothing is left behind",
        [Files],
        Sabotage::Request(|request| request.input = json!({"op": "text"})),
        |rig| {
            let call = rig.call(Request::new("sleep", json!({"seconds": 3600})));
            let result = tokio::time::timeout(Duration::from_millis(300), call).await;
            ensure(result.is_err(), || "it ended by itself".into())?;
            let left = rig.leftovers();
            ensure(left.is_empty(), || format!("left behind: {left:?}"))
        }
    ),
    case!(
        a_finished_call_leaves_nothing,
        "§1 nothing is left behind",
        [Files],
        // Leaves a file where a call's scratch would be.
        Sabotage::Request(|request| request.input = json!({"op": "exit", "code": 77})),
        |rig| {
            let outcome = rig
                .call(Request::new(
                    "make_files",
                    json!({"dir": "/tmp", "count": 100}),
                ))
                .await?;
            same("made", output(&outcome)?["made"].as_i64(), Some(100))?;
            let left = rig.leftovers();
            ensure(left.is_empty(), || format!("left behind: {left:?}"))
        }
    ),
    case!(
        calls_at_once_do_not_meet,
        "§1 one contract",
        [],
        Sabotage::Outcome(|outcome| {
            outcome.output = ToolOutput::Document(Document::from(json!({"op": "echo", "n": 0})));
        }),
        |rig| {
            let calls: Vec<_> = (0..32)
                .map(|n| {
                    let rig = rig.clone();
                    tokio::spawn(async move {
                        (n, rig.call(Request::new("echo", json!({"n": n}))).await)
                    })
                })
                .collect();
            for call in calls {
                let (n, outcome) = call.await.map_err(|e| e.to_string())?;
                same("the echo", output(&outcome?)?["n"].as_i64(), Some(n))?;
            }
            Ok(())
        }
    ),
];
