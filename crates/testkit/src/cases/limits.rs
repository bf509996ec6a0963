//! Limits: each ends the tool, in time, and says so.

use std::time::Duration;

use axo_core::{CpuShare, LimitKind, Outcome, Size, Termination};
use serde_json::json;

use super::Need::{Limit, Wall};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::pace::paced;
use crate::rig::{DEFAULT, Request};

/// How much later than its limit a tool may end (threats.md).
const GRACE: Duration = Duration::from_millis(250);
/// The time limit of these cases.
const SHORT: Duration = Duration::from_millis(400);
/// The time limit of a subject that forgot the one it was given.
const FORGOTTEN: Duration = Duration::from_millis(1200);

fn forget_the_time(request: &mut Request) {
    request.limits.wall = Some(FORGOTTEN);
}

async fn stopped_in_time(rig: crate::Rig, request: Request) -> Result<(), String> {
    let started = std::time::Instant::now();
    let outcome = rig
        .call(request.limits(|limits| limits.wall = Some(SHORT)))
        .await?;
    let took = started.elapsed();
    same("the end", outcome.termination, Termination::TimedOut)?;
    // The first call also loads the probe, so the run's own time counts, and both are bounded.
    ensure(outcome.usage.wall < SHORT + paced(GRACE), || {
        format!("it ended after {:?}", outcome.usage.wall)
    })?;
    ensure(took < SHORT + Duration::from_secs(5), || {
        format!("the call took {took:?}")
    })
}

async fn flooded(rig: crate::Rig, stream: &str) -> Result<Outcome, String> {
    let request = Request::new("flood", json!({"stream": stream}))
        .limits(|limits| limits.output = Some(Size::from_bytes(100_000)));
    let outcome = rig.call(request).await?;
    same(
        "the end",
        outcome.termination.clone(),
        Termination::OutputLimit,
    )?;
    Ok(outcome)
}

fn report_more(outcome: &mut Outcome) {
    outcome.stdout.extend([b'x'; 100]);
    outcome.stderr.extend([b'x'; 100]);
}

pub(super) const CASES: &[Case] = &[
    case!(
        a_loop_ends_at_the_time_limit,
        "threat 6",
        [Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| { stopped_in_time(rig, Request::new("spin", json!({}))).await }
    ),
    case!(
        waiting_in_a_host_call_ends_at_the_time_limit,
        "threat 7",
        [Limit(LimitKind::Wall)],
        Sabotage::Request(forget_the_time),
        |rig| { stopped_in_time(rig, Request::new("sleep", json!({"seconds": 3600}))).await }
    ),
    case!(
        bulk_operations_do_not_evade_the_time_limit,
        "threat 13",
        [Limit(LimitKind::Wall), Limit(LimitKind::Fuel)],
        Sabotage::Request(forget_the_time),
        |rig| {
            let request =
                Request::new("fill", json!({})).limits(|limits| limits.fuel = Some(u64::MAX / 2));
            stopped_in_time(rig, request).await
        }
    ),
    case!(
        what_was_written_before_the_time_limit_is_kept,
        "§5.1 output",
        [Limit(LimitKind::Wall)],
        Sabotage::Outcome(|outcome| outcome.stderr.clear()),
        |rig| {
            let request = Request::new("sleep", json!({"seconds": 60, "log": "before"}))
                .limits(|limits| limits.wall = Some(SHORT));
            let outcome = rig.call(request).await?;
            same(
                "the end",
                outcome.termination.clone(),
                Termination::TimedOut,
            )?;
            ensure(!outcome.stderr.is_empty(), || "the log is gone".into())
        }
    ),
    case!(
        a_flood_of_output_is_cut_at_the_limit,
        "threat 5",
        [Limit(LimitKind::Output)],
        Sabotage::Outcome(report_more),
        |rig| {
            let outcome = flooded(rig, "stdout").await?;
            same("the length kept", outcome.stdout.len(), 100_000)
        }
    ),
    case!(
        a_flood_of_log_is_cut_at_the_limit,
        "threat 5",
        [Limit(LimitKind::Output)],
        Sabotage::Outcome(report_more),
        |rig| {
            let outcome = flooded(rig, "stderr").await?;
            same("the length kept", outcome.stderr.len(), 100_000)
        }
    ),
    case!(
        more_memory_than_the_limit_ends_the_tool,
        "threat 2",
        [Limit(LimitKind::Memory)],
        Sabotage::Request(|request| request.limits.memory = Some(Size::from_mib(512))),
        |rig| {
            let limit = Size::from_mib(32);
            let request = Request::new("alloc", json!({"bytes": 4 * limit.bytes()}))
                .limits(|limits| limits.memory = Some(limit));
            let before = own_memory();
            let outcome = rig.call(request).await?;
            same("the end", outcome.termination, Termination::OutOfMemory)?;
            let peak = outcome.usage.peak_memory.unwrap_or_default();
            ensure(peak <= limit.bytes() && peak > 0, || {
                format!("peak memory is {peak}")
            })?;
            let grown = own_memory().saturating_sub(before);
            ensure(grown < 2 * limit.bytes(), || {
                format!("we grew by {grown} bytes")
            })
        }
    ),
    case!(
        fuel_runs_out,
        "§5.4 termination",
        [Limit(LimitKind::Fuel)],
        Sabotage::Request(|request| {
            request.limits.fuel = None;
            request.limits.wall = Some(SHORT);
        }),
        |rig| {
            let request =
                Request::new("spin", json!({})).limits(|limits| limits.fuel = Some(10_000_000));
            let outcome = rig.call(request).await?;
            same("the end", outcome.termination, Termination::FuelExhausted)?;
            same("the fuel used", outcome.usage.fuel, Some(10_000_000))
        }
    ),
    case!(
        a_share_of_a_core_is_kept,
        "threat 6",
        [Limit(LimitKind::Cpu)],
        Sabotage::Request(|request| request.limits.cpu = None),
        |rig| {
            let request = Request::new("spin", json!({})).limits(|limits| {
                limits.cpu = CpuShare::from_cores(0.25).ok();
                limits.wall = Some(Duration::from_secs(1));
            });
            let outcome = rig.call(request).await?;
            let used = outcome.usage.cpu.unwrap_or_default();
            ensure(
                used > Duration::from_millis(50) && used < Duration::from_millis(400),
                || format!("it used {used:?} of one second"),
            )
        }
    ),
    case!(
        descriptors_are_limited,
        "threat 10",
        [Limit(LimitKind::Files)],
        Sabotage::Request(|request| request.limits.files = None),
        |rig| {
            let before = own_descriptors();
            let request = Request::new("open_many", json!({"path": "/axocoatl/input.json"}))
                .limits(|limits| limits.files = Some(40));
            let outcome = rig.call(request).await?;
            let found = output(&outcome)?;
            ensure(
                found["opened"]
                    .as_i64()
                    .is_some_and(|n| (1..=40).contains(&n)),
                || format!("{found}"),
            )?;
            let after = own_descriptors();
            ensure(after <= before + 2, || {
                format!("we had {before} descriptors open and now {after}")
            })
        }
    ),
    case!(
        defaults_hold_without_being_asked_for,
        "§5.1",
        [Wall],
        Sabotage::Request(|request| request.limits.memory = Some(Size::from_mib(1024))),
        |rig| {
            let bytes = DEFAULT.memory.bytes() * 2;
            let outcome = rig
                .call(Request::new("alloc", json!({"bytes": bytes})))
                .await?;
            same("the end", outcome.termination, Termination::OutOfMemory)
        }
    ),
];

/// Our own resident memory, in bytes.
fn own_memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// How many descriptors we have open.
fn own_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
