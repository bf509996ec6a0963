//! Where the output is found, and what it may be.

use axo_core::{Document, OutputMode, OutputProblem, Size, Termination, ToolOutput};
use serde_json::{Value, json};

use super::Need::Files;
use super::{Case, Sabotage, case, ensure, log, output, same};
use crate::rig::Request;

fn drop_output(outcome: &mut axo_core::Outcome) {
    // The fault of the published crate: the call succeeds, and what the tool wrote is gone.
    outcome.stdout.clear();
    outcome.output = ToolOutput::Document(Document::from(json!({"ok": true})));
}

fn take_stdout_instead(outcome: &mut axo_core::Outcome) {
    outcome.output = ToolOutput::Document(Document::from(json!({"from": "stdout"})));
}

fn follow(outcome: &mut axo_core::Outcome) {
    outcome.output = ToolOutput::Document(Document::from(json!("followed")));
}

fn refused(outcome: &axo_core::Outcome) -> Result<(), String> {
    ensure(
        matches!(
            &outcome.output,
            ToolOutput::Invalid(OutputProblem::FileRefused(_))
        ),
        || {
            format!(
                "the output file was taken: {:?}; log: {}",
                outcome.output,
                log(outcome)
            )
        },
    )
}

pub(super) const CASES: &[Case] = &[
    case!(
        json_on_standard_output_is_the_output,
        "§5.1 output",
        [],
        Sabotage::Outcome(drop_output),
        |rig| {
            let outcome = rig.call(Request::new("echo", json!({"a": 1}))).await?;
            same(
                "the output",
                output(&outcome)?,
                json!({"op": "echo", "a": 1}),
            )?;
            ensure(!outcome.stdout.is_empty(), || {
                "standard output is not kept".into()
            })
        }
    ),
    case!(
        other_text_is_a_json_string,
        "§5.1 output",
        [],
        Sabotage::Outcome(drop_output),
        |rig| {
            let outcome = rig.call(Request::new("text", json!({}))).await?;
            same(
                "the output",
                output(&outcome)?,
                json!("plain text, not JSON\n"),
            )
        }
    ),
    case!(
        the_output_file_comes_first,
        "§5.1 output",
        [Files],
        Sabotage::Outcome(take_stdout_instead),
        |rig| {
            let outcome = rig.call(Request::new("output_file", json!({}))).await?;
            same("the output", output(&outcome)?, json!({"from": "file"}))
        }
    ),
    case!(
        a_pinned_json_output_refuses_text,
        "§5.1 output",
        [],
        Sabotage::Request(|request| request.output = OutputMode::Auto),
        |rig| {
            let outcome = rig
                .call(Request::new("text", json!({})).output(OutputMode::Json))
                .await?;
            ensure(
                matches!(
                    outcome.output,
                    ToolOutput::Invalid(OutputProblem::NotJson(_))
                ),
                || format!("text was taken for JSON: {:?}", outcome.output),
            )
        }
    ),
    case!(
        a_pinned_file_output_refuses_standard_output,
        "§5.1 output",
        [],
        Sabotage::Request(|request| request.output = OutputMode::Auto),
        |rig| {
            let outcome = rig
                .call(Request::new("echo", json!({})).output(OutputMode::File))
                .await?;
            same(
                "the output",
                outcome.output,
                ToolOutput::Invalid(OutputProblem::NoFile),
            )
        }
    ),
    case!(
        a_pinned_text_output_is_never_parsed,
        "§5.1 output",
        [],
        Sabotage::Request(|request| request.output = OutputMode::Auto),
        |rig| {
            let outcome = rig
                .call(Request::new("echo", json!({})).output(OutputMode::Text))
                .await?;
            ensure(matches!(output(&outcome)?, Value::String(_)), || {
                "it was parsed".into()
            })
        }
    ),
    case!(
        an_output_file_over_the_limit_is_refused,
        "§5.1 output",
        [Files],
        Sabotage::Request(|request| request.limits.output = None),
        |rig| {
            let request = Request::new("output_file_big", json!({"bytes": 65_536}))
                .limits(|limits| limits.output = Some(Size::from_bytes(16 << 10)));
            refused(&rig.call(request).await?)
        }
    ),
    case!(
        an_output_file_that_is_a_link_is_not_followed,
        "§5.1 output, threat 28",
        [Files],
        Sabotage::Outcome(follow),
        |rig| {
            let outcome = rig
                .call(Request::new(
                    "output_symlink",
                    json!({"target": "input.json"}),
                ))
                .await?;
            // Either the link could not be made, or it was refused: the input never comes back.
            match &outcome.output {
                ToolOutput::Invalid(OutputProblem::FileRefused(_)) => Ok(()),
                ToolOutput::Document(document) => {
                    let errno = document.value()["errno"].as_i64();
                    ensure(errno.is_some_and(|errno| errno > 0), || {
                        format!("followed: {document:?}")
                    })
                }
                other => Err(format!("{other:?}")),
            }
        }
    ),
    case!(
        an_output_file_that_is_a_directory_is_refused,
        "§5.1 output, threat 28",
        [Files],
        Sabotage::Outcome(follow),
        |rig| {
            let outcome = rig.call(Request::new("output_dir", json!({}))).await?;
            match &outcome.output {
                ToolOutput::Document(document) => {
                    let errno = document.value()["errno"].as_i64();
                    ensure(errno.is_some_and(|errno| errno > 0), || {
                        format!("taken: {document:?}")
                    })
                }
                ToolOutput::Invalid(_) => refused(&outcome),
            }
        }
    ),
    case!(
        standard_error_is_the_log,
        "§5.1 log",
        [],
        Sabotage::Outcome(|outcome| std::mem::swap(&mut outcome.stdout, &mut outcome.stderr)),
        |rig| {
            let outcome = rig
                .call(Request::new("stderr", json!({"text": "a line of log"})))
                .await?;
            ensure(log(&outcome).contains("a line of log"), || {
                format!("the log is {:?}", log(&outcome))
            })?;
            ensure(
                !String::from_utf8_lossy(&outcome.stdout).contains("a line of log"),
                || "the log is in standard output".into(),
            )?;
            same("the end", outcome.termination, Termination::Exited(0))
        }
    ),
];
