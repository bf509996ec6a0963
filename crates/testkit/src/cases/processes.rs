//! Processes and threads: how many, how long, and that none remains.

use std::time::Duration;

use axo_core::{CpuShare, GrantKind, LimitKind, Outcome, Size, Termination};
use serde_json::json;

use super::Need::{Grant, Kernel, Limit, Root, SharedKernel};
use super::host::{
    EAGAIN, EPERM, Mark, all_refused, every_child_is_reaped, everything_worked, something_else,
};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::pace::paced;
use crate::rig::{Request, Rig};

/// How much later than its limit a tool may end (threats.md).
const GRACE: Duration = Duration::from_millis(250);
/// The time limit of these cases.
const SHORT: Duration = Duration::from_millis(400);
/// More processes than any of these tools is granted.
const MANY: usize = 64;

fn forget_the_time(request: &mut Request) {
    request.limits.wall = Some(3 * SHORT);
}

/// The tool is stopped in time, and all its processes with it.
async fn stopped_whole(rig: Rig, request: Request) -> Result<(), String> {
    let request = request.limits(|limits| limits.wall = Some(SHORT));
    let outcome = Mark::new().ends_whole(&rig, request, (1, MANY)).await?;
    same("the end", outcome.termination, Termination::TimedOut)?;
    ensure(outcome.usage.wall < SHORT + paced(GRACE), || {
        format!("it ended after {:?}", outcome.usage.wall)
    })
}

fn ended_by_itself(outcome: &Outcome) -> Result<(), String> {
    same("the end", &outcome.termination, &Termination::Exited(0))?;
    let wall = outcome.usage.wall;
    ensure(wall < Duration::from_secs(3), || {
        format!("it was waited for: {wall:?}")
    })
}

pub(super) const CASES: &[Case] = &[
    case!(
        a_fork_bomb_meets_the_limit,
        "threat 1",
        [Kernel, Limit(LimitKind::Pids), Grant(GrantKind::Env)],
        Sabotage::Request(|request| request.limits.pids = Some(200)),
        |rig| {
            let request = Request::new("fork_bomb", json!({"count": 10_000, "hold_ms": 200}))
                .limits(|limits| limits.pids = Some(32));
            let outcome = Mark::new().ends_whole(&rig, request, (16, 32)).await?;
            let found = output(&outcome)?;
            let forked = found["forked"].as_i64().unwrap_or_default();
            ensure((8..32).contains(&forked), || format!("{found}"))?;
            same("the error", found["errno"].as_i64(), Some(EAGAIN))?;
            same("the end", outcome.termination, Termination::Exited(0))
        }
    ),
    case!(
        threads_count_as_processes,
        "threat 1",
        [Kernel, Limit(LimitKind::Pids)],
        Sabotage::Request(|request| request.limits.pids = Some(200)),
        |rig| {
            let request = Request::new("spin_threads", json!({"threads": 256, "ms": 20}))
                .limits(|limits| limits.pids = Some(16));
            let found = output(&rig.call(request).await?)?;
            ensure(
                found["started"]
                    .as_i64()
                    .is_some_and(|n| (4..16).contains(&n))
                    && found["errno"] == EAGAIN,
                || format!("{found}"),
            )
        }
    ),
    case!(
        children_nobody_waits_for_end_with_the_tool,
        "threat 9",
        [Kernel, Grant(GrantKind::Env)],
        Sabotage::Request(something_else),
        |rig| {
            let request = Request::new("zombies", json!({"count": 20}));
            let outcome = Mark::new().ends_whole(&rig, request, (0, MANY)).await?;
            ended_by_itself(&outcome)?;
            same("forked", output(&outcome)?["forked"].as_i64(), Some(20))?;
            every_child_is_reaped().await
        }
    ),
    case!(
        a_daemon_ends_with_the_tool,
        "threat 8",
        [Kernel, Grant(GrantKind::Env)],
        Sabotage::Request(something_else),
        |rig| {
            for streams in ["closed", "open"] {
                let request = Request::new(
                    "daemonise",
                    json!({"seconds": 60, "streams": streams, "hold_ms": 200}),
                );
                let outcome = Mark::new().ends_whole(&rig, request, (2, MANY)).await?;
                ended_by_itself(&outcome)?;
                same("the output", output(&outcome)?, json!({"ok": true}))?;
            }
            Ok(())
        }
    ),
    case!(
        a_child_that_holds_the_output_open_is_not_waited_for,
        "threat 8",
        [Kernel, Grant(GrantKind::Env)],
        Sabotage::Outcome(|outcome| outcome.usage.wall = Duration::from_secs(60)),
        |rig| {
            let request = Request::new("hold_pipe", json!({"seconds": 60}));
            let outcome = Mark::new().ends_whole(&rig, request, (0, MANY)).await?;
            ended_by_itself(&outcome)?;
            same("the output", output(&outcome)?, json!({"ok": true}))
        }
    ),
    case!(
        a_daemon_ends_at_the_time_limit,
        "threat 8",
        [Kernel, Grant(GrantKind::Env), Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| {
            let arguments = json!({"seconds": 60, "hold_ms": 60_000});
            stopped_whole(rig, Request::new("daemonise", arguments)).await
        }
    ),
    case!(
        ignoring_every_signal_does_not_help_a_sleeper,
        "threat 9",
        [Kernel, Grant(GrantKind::Env), Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| { stopped_whole(rig, Request::new("ignore_signals", json!({"how": "sleep"}))).await }
    ),
    case!(
        ignoring_every_signal_does_not_help_a_loop,
        "threat 9",
        [Kernel, Grant(GrantKind::Env), Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| { stopped_whole(rig, Request::new("ignore_signals", json!({"how": "spin"}))).await }
    ),
    case!(
        busy_threads_end_at_the_time_limit,
        "threat 6",
        [Kernel, Grant(GrantKind::Env), Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| { stopped_whole(rig, Request::new("spin_threads", json!({"threads": 16}))).await }
    ),
    case!(
        a_dropped_call_leaves_no_process,
        "§1 nothing is left behind",
        [SharedKernel, Root, Grant(GrantKind::Env)],
        Sabotage::Request(|request| request.grants.env.clear()),
        |rig| {
            let mark = Mark::new();
            let request = Request::new("ignore_signals", json!({"how": "sleep"}))
                .limits(|limits| limits.wall = Some(3 * SHORT));
            tokio::select! {
                _ = rig.call(mark.on(request)) => return Err("the host never saw it".into()),
                () = mark.seen() => {}
            }
            mark.gone().await
        }
    ),
    case!(
        threads_share_one_share_of_a_core,
        "threat 6",
        [Kernel, Limit(LimitKind::Cpu)],
        Sabotage::Request(|request| request.limits.cpu = CpuShare::from_cores(1.0).ok()),
        |rig| {
            let request = Request::new("spin_threads", json!({"threads": 8})).limits(|limits| {
                limits.cpu = CpuShare::from_cores(0.25).ok();
                limits.wall = Some(Duration::from_secs(1));
            });
            let used = rig.call(request).await?.usage.cpu.unwrap_or_default();
            ensure(
                used > Duration::from_millis(50) && used < Duration::from_millis(400),
                || format!("it used {used:?} of one second"),
            )
        }
    ),
    case!(
        a_child_over_the_memory_limit_is_ended,
        "threat 2",
        [Kernel, Limit(LimitKind::Memory)],
        Sabotage::Request(|request| request.limits.memory = Some(Size::from_mib(512))),
        |rig| {
            let limit = Size::from_mib(32);
            let request = Request::new("oom_child", json!({"bytes": 4 * limit.bytes()}))
                .limits(|limits| limits.memory = Some(limit));
            let outcome = rig.call(request).await?;
            // The limit ends the child, or the tool as a whole; a tool that lives on tells its own end.
            match outcome.termination {
                Termination::OutOfMemory => Ok(()),
                Termination::Exited(0) => same(
                    "the child's end",
                    output(&outcome)?["result"].as_i64(),
                    Some(-9),
                ),
                other => Err(format!("it {other}")),
            }
        }
    ),
    case!(
        limits_of_the_process_cannot_be_raised,
        "threat 10",
        [Kernel, Limit(LimitKind::Files)],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let outcome = rig.call(Request::new("rlimit_raise", json!({}))).await?;
            let found = output(&outcome)?;
            same("open files", found["nofile"].as_i64(), Some(EPERM))?;
            // -1: there is no limit to raise.
            all_refused(&found, &[EPERM, -1])
        }
    ),
    case!(
        a_tool_that_aborts_is_told_by_a_signal,
        "§5.4 termination",
        [Kernel],
        Sabotage::Outcome(|outcome| outcome.termination = Termination::Exited(134)),
        |rig| {
            let outcome = rig
                .call(Request::new("signal_self", json!({"signal": 6})))
                .await?;
            ensure(
                matches!(outcome.termination, Termination::Signaled(signal) if signal > 0),
                || format!("it {}", outcome.termination),
            )
        }
    ),
    case!(
        a_tool_that_kills_itself_is_told_by_the_signal,
        "§5.4 termination",
        [Kernel],
        Sabotage::Outcome(|outcome| outcome.termination = Termination::Exited(137)),
        |rig| {
            let outcome = rig
                .call(Request::new("signal_self", json!({"signal": 9})))
                .await?;
            match outcome.termination {
                Termination::Signaled(9) => Ok(()),
                // The kernel spares the first process of a namespace its own signals.
                Termination::Exited(0) => {
                    same("its number", output(&outcome)?["pid"].as_i64(), Some(1))
                }
                other => Err(format!("it {other}")),
            }
        }
    ),
];
