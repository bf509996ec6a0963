//! One call of a program, from a fresh store to what it left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axo_core::{BoxError, EffectiveLimits, Finished, OutputFile, PlacedCall, Termination, Usage};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use crate::cpu::{CpuClock, Metered};
use crate::limits::{Limiter, MemoryLimitReached};
use crate::output::{CappedOutput, OutputLimitReached};
use crate::program::Program;
use crate::scratch::Scratch;
use crate::wasi::{CallState, Streams};

/// Why a call could not be made: the host's failures, never the tool's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// Its mounts could not be opened.
    #[error("opening the mount {mount}")]
    Mount { mount: String, source: BoxError },
    /// Its context could not be made, or its pool slot could not be had.
    #[error("starting the program")]
    Start(BoxError),
    /// Its output file could not be read.
    #[error("reading its output file")]
    Output(std::io::Error),
}

/// Runs `program` for `call`, in `scratch` if it has files. Ends within `limits.wall` and one
/// epoch; dropping the future ends the program at once.
pub(crate) async fn invoke(
    program: &Program,
    call: &PlacedCall,
    scratch: Option<&Scratch>,
) -> Result<Finished, InvokeError> {
    let limits = call.limits();
    let peak = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(CpuClock::start());
    let streams = Streams {
        stdout: CappedOutput::new(limits.output.as_usize()),
        stderr: CappedOutput::new(limits.output.as_usize()),
    };
    let limiter = Limiter::new(limits.memory.bytes(), Arc::clone(&peak));
    let state = CallState::new(program.code(), call, scratch, &streams, limiter)?;
    let mut store =
        Store::try_new(&program.engine, state).map_err(|e| InvokeError::Start(e.into()))?;
    store.limiter(|state| &mut state.limiter);
    set_deadlines(&mut store, limits, &clock).map_err(|e| InvokeError::Start(e.into()))?;

    let ended = {
        let work = pin!(program.call(&mut store));
        tokio::time::timeout(limits.wall, Metered::new(&clock, work)).await
    };
    let termination = match ended {
        Err(_) => Termination::TimedOut,
        Ok(result) => read_end(result)?,
    };
    let usage = Usage {
        wall: clock.elapsed(),
        cpu: Some(clock.used()),
        peak_memory: Some(peak.load(Ordering::Relaxed)),
        fuel: limits
            .fuel
            .map(|given| given.saturating_sub(store.get_fuel().unwrap_or(0))),
    };
    // The program's files and memory are closed before its output is looked at.
    drop(store);
    let output_file = match scratch {
        Some(scratch) => scratch
            .output(limits.output.bytes())
            .map_err(InvokeError::Output)?,
        None => OutputFile::Absent,
    };
    Ok(Finished {
        termination,
        stdout: streams.stdout.take(),
        stderr: streams.stderr.take(),
        output_file,
        usage,
        digest: Some(Arc::clone(&program.digest)),
    })
}

/// At every epoch the program yields, so that the timer around it is asked, and pauses if it has
/// used more than its share of a core.
fn set_deadlines(
    store: &mut Store<CallState>,
    limits: &EffectiveLimits,
    clock: &Arc<CpuClock>,
) -> wasmtime::Result<()> {
    if let Some(fuel) = limits.fuel {
        store.set_fuel(fuel)?;
    }
    store.set_epoch_deadline(1);
    let share = limits.cpu.cores();
    if share >= 1.0 {
        // A program has one thread: it cannot use more than one core.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        return Ok(());
    }
    let clock = Arc::clone(clock);
    store.epoch_deadline_callback(move |_| {
        Ok(match clock.pause_for(share) {
            Some(pause) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause))),
            None => UpdateDeadline::Yield(1),
        })
    });
    Ok(())
}

/// How the program ended, from what Wasmtime says.
fn read_end(result: wasmtime::Result<Result<(), ()>>) -> Result<Termination, InvokeError> {
    let error = match result {
        Ok(Ok(())) => return Ok(Termination::Exited(0)),
        Ok(Err(())) => return Ok(Termination::Exited(1)),
        Err(error) => error,
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(Termination::Exited(exit.0));
    }
    if error.is::<MemoryLimitReached>() {
        return Ok(Termination::OutOfMemory);
    }
    if is_output_limit(&error) {
        return Ok(Termination::OutputLimit);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(InvokeError::Start(error.into()));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Ok(Termination::FuelExhausted),
        _ => Ok(Termination::Trapped(trap_message(&error))),
    }
}

/// Whether the output limit ended the program: directly, or inside an I/O error.
fn is_output_limit(error: &wasmtime::Error) -> bool {
    let inside = |e: &std::io::Error| e.get_ref().is_some_and(|e| e.is::<OutputLimitReached>());
    error.is::<OutputLimitReached>() || error.downcast_ref::<std::io::Error>().is_some_and(inside)
}

/// Longest message of a trap, in bytes; it can carry names from the program.
const MAX_TRAP_MESSAGE: usize = 4 << 10;

/// The trap, or what else ended the program.
fn trap_message(error: &wasmtime::Error) -> String {
    let mut message = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    };
    message.truncate(message.floor_char_boundary(MAX_TRAP_MESSAGE));
    message
}
