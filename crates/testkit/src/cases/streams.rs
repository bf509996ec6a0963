//! Standard streams of a native program, used in unusual ways.

use std::time::Duration;

use axo_core::{OutputMode, OutputProblem, Termination, ToolOutput};
use serde_json::json;

use super::Need::{Files, Kernel};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

pub(super) const CASES: &[Case] = &[
    case!(
        closed_streams_are_not_the_end,
        "§5.1 exit status",
        [Kernel],
        Sabotage::Outcome(|outcome| outcome.termination = Termination::Exited(0)),
        |rig| {
            let arguments = json!({"ms": 300, "code": 7});
            let outcome = rig.call(Request::new("close_streams", arguments)).await?;
            same("the end", &outcome.termination, &Termination::Exited(7))?;
            same("the output", output(&outcome)?, json!({"ok": true}))?;
            ensure(outcome.usage.wall >= Duration::from_millis(300), || {
                format!("it ended after {:?}", outcome.usage.wall)
            })
        }
    ),
    case!(
        input_that_is_not_read_is_no_failure,
        "§5.1 input",
        [Kernel, Files],
        Sabotage::Outcome(|outcome| outcome.termination = Termination::Signaled(13)),
        |rig| {
            // More than a pipe holds.
            let arguments = json!({"text": "x".repeat(3 << 20)});
            let outcome = rig.call(Request::new("stdin_partial", arguments)).await?;
            same("the end", &outcome.termination, &Termination::Exited(0))?;
            same("the output", output(&outcome)?, json!({"read": 0}))
        }
    ),
    case!(
        half_a_document_is_no_document,
        "§5.1 output",
        [Kernel],
        Sabotage::Request(|request| request.output = OutputMode::Auto),
        |rig| {
            let request = Request::new("partial_json", json!({})).output(OutputMode::Json);
            let outcome = rig.call(request).await?;
            ensure(
                matches!(
                    outcome.output,
                    ToolOutput::Invalid(OutputProblem::NotJson(_))
                ),
                || format!("it was taken: {:?}", outcome.output),
            )
        }
    ),
];
