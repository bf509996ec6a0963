//! Input, environment, arguments and descriptors.

use axo_core::{Document, EnvGrant, GrantKind, ToolOutput};
use serde_json::json;

use super::Need::{Files, Grant};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

fn forget_output(outcome: &mut axo_core::Outcome) {
    outcome.output = ToolOutput::Document(Document::from(json!({})));
}

fn leak_variable(request: &mut Request) {
    request
        .grants
        .env
        .push(EnvGrant::parse("LEAKED=secret").unwrap());
}

pub(super) const CASES: &[Case] = &[
    case!(
        the_input_is_on_standard_input,
        "§5.1 input",
        [],
        Sabotage::Outcome(forget_output),
        |rig| {
            let request = Request::new(
                "echo",
                json!({"text": "grüße\n\"\\", "n": 1.5, "deep": [[[{}]]]}),
            );
            let outcome = rig.call(request.clone()).await?;
            same("the echo", output(&outcome)?, request.input)
        }
    ),
    case!(
        a_large_input_arrives_whole,
        "§5.1 input",
        [],
        Sabotage::Request(|request| request.input["text"] = json!("short")),
        |rig| {
            let request = Request::new("echo", json!({"text": "x".repeat(3 << 20)}))
                .limits(|limits| limits.output = Some(axo_core::Size::from_mib(8)));
            let outcome = rig.call(request.clone()).await?;
            ensure(output(&outcome)? == request.input, || {
                "the echo differs from the input".into()
            })
        }
    ),
    case!(
        the_input_is_in_a_file,
        "§5.1 input",
        [Files],
        Sabotage::Outcome(forget_output),
        |rig| {
            let request = Request::new("input_file", json!({"more": [1, 2, 3]}));
            let outcome = rig.call(request.clone()).await?;
            same("/axocoatl/input.json", output(&outcome)?, request.input)
        }
    ),
    case!(
        the_input_file_is_read_only,
        "§5.1 input",
        [Files],
        Sabotage::Outcome(|outcome| {
            outcome.output =
                ToolOutput::Document(Document::from(json!({"open": 0, "unlink": 0, "rename": 0})));
        }),
        |rig| {
            let outcome = rig
                .call(Request::new("write_input_file", json!({})))
                .await?;
            let found = output(&outcome)?;
            ensure(
                ["open", "unlink", "rename"]
                    .iter()
                    .all(|how| found[how].as_i64().is_some_and(|errno| errno > 0)),
                || format!("the input could be changed: {found}"),
            )
        }
    ),
    case!(
        the_environment_is_the_contracts_and_nothing_else,
        "§5.1 environment, threat 31",
        [],
        Sabotage::Request(leak_variable),
        |rig| {
            let outcome = rig.call(Request::new("env", json!({}))).await?;
            let found = output(&outcome)?;
            let mut names: Vec<_> = found
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            names.sort_unstable();
            same(
                "the names",
                names,
                vec!["AXOCOATL_CALL_ID", "AXOCOATL_TOOL", "HOME", "PATH"],
            )?;
            same(
                "AXOCOATL_TOOL",
                found["AXOCOATL_TOOL"].as_str(),
                Some("probe"),
            )?;
            same(
                "AXOCOATL_CALL_ID",
                found["AXOCOATL_CALL_ID"].as_str(),
                Some(outcome.call_id.to_string().as_str()),
            )
        }
    ),
    case!(
        a_granted_variable_arrives,
        "§5.1 environment",
        [Grant(GrantKind::Env)],
        Sabotage::Request(|request| request.grants.env.clear()),
        |rig| {
            let request = Request::new("env", json!({})).grants(|grants| {
                grants
                    .env
                    .push(EnvGrant::parse("TZ=Europe/Paris = x").unwrap())
            });
            let outcome = rig.call(request).await?;
            same(
                "TZ",
                output(&outcome)?["TZ"].as_str(),
                Some("Europe/Paris = x"),
            )
        }
    ),
    case!(
        no_descriptor_of_the_host_is_inherited,
        "§5.1 descriptors, threat 19",
        [],
        Sabotage::Outcome(|outcome| {
            outcome.output = ToolOutput::Document(Document::from(json!({"fds": [0, 1, 2, 77]})));
        }),
        |rig| {
            // One that is planted to be inherited: duplicates have no close-on-exec.
            let planted = rustix::io::dup(std::io::stderr()).map_err(|e| e.to_string())?;
            let outcome = rig.call(Request::new("fds", json!({}))).await?;
            drop(planted);
            let found = output(&outcome)?;
            let open: Vec<_> = found["fds"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|fd| fd.as_i64())
                .collect();
            // A WASI program has its preopened /axocoatl and /tmp as 3 and 4.
            let most = if rig.tier() == axo_core::Tier::Wasm {
                4
            } else {
                2
            };
            ensure(
                open.starts_with(&[0, 1, 2]) && open.iter().all(|fd| *fd <= most),
                || format!("open descriptors: {open:?}"),
            )
        }
    ),
];
