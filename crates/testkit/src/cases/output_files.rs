//! What a native program may put in the place of its output file.

use std::time::Duration;

use axo_core::{Outcome, OutputProblem, ToolOutput};
use serde_json::{Value, json};

use super::Need::{Files, Kernel};
use super::host::{edit, everything_worked};
use super::{Case, Sabotage, case, ensure, output};
use crate::rig::{Request, Rig};

/// How long a refusal may take; a reader of a FIFO or of a device would wait longer.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How often a race is run.
const RACES: usize = 20;

fn take_it(outcome: &mut Outcome) {
    outcome.output = ToolOutput::Document(json!({"taken": true}).into());
}

/// It could not be made, or was refused; and at once.
async fn refused(rig: Rig, op: &str, arguments: Value) -> Result<(), String> {
    let call = rig.call(Request::new(op, arguments));
    let outcome = tokio::time::timeout(AT_ONCE, call)
        .await
        .map_err(|_| format!("{op} keeps the reader waiting"))??;
    match &outcome.output {
        ToolOutput::Invalid(OutputProblem::FileRefused(_)) => Ok(()),
        ToolOutput::Document(document) => {
            let errno = document.value()["errno"].as_i64();
            ensure(errno.is_some_and(|errno| errno > 0), || {
                format!("it was taken: {document:?}")
            })
        }
        other => Err(format!("{other:?}")),
    }
}

pub(super) const CASES: &[Case] = &[
    case!(
        an_output_file_that_is_a_fifo_is_refused_at_once,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(take_it),
        |rig| { refused(rig, "output_fifo", json!({})).await }
    ),
    case!(
        an_output_file_that_is_a_device_is_refused,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(take_it),
        |rig| { refused(rig, "output_device", json!({})).await }
    ),
    case!(
        an_output_file_that_is_a_socket_is_refused,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(take_it),
        |rig| { refused(rig, "output_socket", json!({})).await }
    ),
    case!(
        an_output_file_that_is_another_file_too_is_refused,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(take_it),
        |rig| {
            let targets = ["/axocoatl/input.json", "/etc/passwd", "/proc/self/environ"];
            for target in targets {
                refused(rig.clone(), "output_hardlink", json!({"target": target})).await?;
            }
            Ok(())
        }
    ),
    case!(
        a_giant_output_file_without_content_is_refused,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(take_it),
        |rig| { refused(rig, "output_sparse", json!({"bytes": 1_u64 << 40})).await }
    ),
    case!(
        the_output_directory_cannot_be_replaced,
        "threat 28",
        [Kernel, Files],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let outcome = rig
                .call(Request::new("output_replace_dir", json!({})))
                .await?;
            let found = output(&outcome)?;
            let tried = found.as_object().filter(|tried| !tried.is_empty());
            for (how, errno) in tried.ok_or("nothing was tried")? {
                ensure(errno.as_i64().is_some_and(|errno| errno > 0), || {
                    format!("{how} came to {errno}")
                })?;
            }
            Ok(())
        }
    ),
    case!(
        an_output_file_that_changes_while_it_is_read_leads_nowhere,
        "§5.1 output, threat 28",
        [Kernel, Files],
        Sabotage::Outcome(
            |outcome| edit(outcome, |found| *found = json!({"canary": "of the host"}))
        ),
        |rig| {
            // A link that is resolved on the host, or in the tool's own files, finds something to read.
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            let canary = host.path().join("canary.json");
            std::fs::write(&canary, r#"{"canary":"of the host"}"#).map_err(|e| e.to_string())?;
            for target in [canary.as_path(), "/axocoatl/input.json".as_ref()] {
                for race in 0..RACES {
                    let arguments = json!({"target": target, "ms": 5 + race});
                    let call = rig.call(Request::new("output_flip", arguments));
                    let outcome = tokio::time::timeout(AT_ONCE, call).await;
                    let outcome = outcome.map_err(|_| "the child was waited for")??;
                    if let ToolOutput::Document(document) = &outcome.output {
                        let found = document.value();
                        ensure(found["canary"].is_null() && found["op"].is_null(), || {
                            format!("followed: {found}")
                        })?;
                    }
                }
            }
            Ok(())
        }
    ),
];
