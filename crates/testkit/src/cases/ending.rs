//! How tools end.

use axo_core::{Termination, Tier};
use serde_json::json;

use super::Need::{Statuses, Wall};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

fn call_it_success(outcome: &mut axo_core::Outcome) {
    outcome.termination = Termination::Exited(0);
}

pub(super) const CASES: &[Case] = &[
    case!(
        a_failing_tools_output_is_kept,
        "§5.1 exit status",
        [],
        Sabotage::Outcome(|outcome| outcome.stdout.clear()),
        |rig| {
            let outcome = rig.call(Request::new("exit", json!({"code": 1}))).await?;
            same(
                "the end",
                outcome.termination.clone(),
                Termination::Exited(1),
            )?;
            same("the output", output(&outcome)?, json!({"partial": true}))?;
            ensure(!outcome.stdout.is_empty(), || {
                "standard output is not kept".into()
            })
        }
    ),
    case!(
        every_exit_status_arrives,
        "§5.1 exit status",
        [Statuses],
        Sabotage::Outcome(call_it_success),
        |rig| {
            for code in [0, 1, 2, 42, 124, 125, 126, 137, 200, 255] {
                let outcome = rig
                    .call(Request::new("exit", json!({"code": code})))
                    .await?;
                same("the end", outcome.termination, Termination::Exited(code))?;
            }
            Ok(())
        }
    ),
    case!(
        a_crash_is_told_as_what_it_is,
        "§5.4 termination",
        [],
        Sabotage::Outcome(call_it_success),
        |rig| {
            let outcome = rig.call(Request::new("trap", json!({}))).await?;
            let told = match (rig.tier(), &outcome.termination) {
                (Tier::Wasm, Termination::Trapped(message)) => message.contains("unreachable"),
                (_, Termination::Signaled(signal)) => *signal > 0,
                _ => false,
            };
            ensure(told, || format!("it {}", outcome.termination))
        }
    ),
    case!(
        endless_recursion_ends_the_tool_and_not_us,
        "threat 12",
        [Wall],
        Sabotage::Outcome(call_it_success),
        |rig| {
            let outcome = rig.call(Request::new("recurse", json!({}))).await?;
            ensure(
                matches!(
                    outcome.termination,
                    Termination::Trapped(_) | Termination::Signaled(_)
                ),
                || format!("it {}", outcome.termination),
            )?;
            let after = rig.call(Request::new("exit", json!({"code": 0}))).await?;
            same("the next call", after.termination, Termination::Exited(0))
        }
    ),
    case!(
        usage_is_measured,
        "§5.4 usage",
        [],
        Sabotage::Outcome(|outcome| outcome.usage = axo_core::Usage::default()),
        |rig| {
            let started = std::time::Instant::now();
            let outcome = rig.call(Request::new("sleep", json!({"ms": 30}))).await?;
            let (wall, around) = (outcome.usage.wall, started.elapsed());
            ensure(wall.as_millis() >= 30 && wall <= around, || {
                format!("wall is {wall:?} of {around:?}")
            })?;
            let memory = outcome.usage.peak_memory;
            ensure(
                rig.tier() != Tier::Wasm || memory.is_some_and(|bytes| bytes >= 64 << 10),
                || format!("peak memory is {memory:?}"),
            )
        }
    ),
    case!(
        what_ran_is_told_by_its_digest,
        "§5.4 digest",
        [Wall],
        Sabotage::Outcome(|outcome| outcome.digest = None),
        |rig| {
            let outcome = rig.call(Request::new("text", json!({}))).await?;
            let digest = outcome.digest.as_deref().unwrap_or_default();
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            ensure(
                hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
                || format!("{digest:?}"),
            )
        }
    ),
];
