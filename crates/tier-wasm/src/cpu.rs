//! Processor time of a call, and its share.
//!
//! A WebAssembly call is polled by whichever thread has time for it. What the thread's clock gains
//! during those polls is the call's processor time. Work that host calls hand to other threads
//! (file access) is not in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time used by a call.
#[derive(Debug)]
pub(crate) struct CpuClock {
    started: Instant,
    /// Nanoseconds of finished polls.
    finished: AtomicU64,
    /// The thread's clock when the current poll began.
    poll_began: AtomicU64,
}

impl CpuClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            finished: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
        }
    }

    /// Processor time of all finished polls.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.finished.load(Ordering::Relaxed))
    }

    /// Elapsed time since the call began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long a call that may use `share` of a core must now pause so that its average does not
    /// exceed it. To be asked inside a poll.
    pub(crate) fn pause_for(&self, share: f64) -> Option<Duration> {
        let current = thread_nanos().saturating_sub(self.poll_began.load(Ordering::Relaxed));
        let used = self.used() + Duration::from_nanos(current);
        let due = used.div_f64(share);
        due.checked_sub(self.elapsed())
            .filter(|pause| !pause.is_zero())
    }
}

/// A future whose polls are metered.
pub(crate) struct Metered<'a, F> {
    clock: &'a CpuClock,
    inner: F,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(clock: &'a CpuClock, inner: F) -> Self {
        Self { clock, inner }
    }
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let clock = self.clock;
        let began = thread_nanos();
        clock.poll_began.store(began, Ordering::Relaxed);
        let result = Pin::new(&mut self.inner).poll(cx);
        clock
            .finished
            .fetch_add(thread_nanos().saturating_sub(began), Ordering::Relaxed);
        result
    }
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = time
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}
