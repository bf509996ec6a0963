//! The thread that advances the engines' epochs, so that running code yields to the timer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use crate::engines::Engines;

/// Time between two epochs: how late a loop may notice its deadline.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without a running call after which the thread sleeps until the next call.
const IDLE_TICKS: u32 = 200;

/// Ticks while calls run; one thread an executor, started by the first call.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: OnceLock<std::io::Result<Thread>>,
}

struct Shared {
    engines: Weak<Engines>,
    running: AtomicUsize,
    asleep: AtomicBool,
}

/// Keeps the ticker going while a call runs.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    pub(crate) fn new(engines: &Arc<Engines>) -> Self {
        Self {
            shared: Arc::new(Shared {
                engines: Arc::downgrade(engines),
                running: AtomicUsize::new(0),
                asleep: AtomicBool::new(false),
            }),
            thread: OnceLock::new(),
        }
    }

    /// Makes the epochs advance until the returned value is dropped.
    ///
    /// # Errors
    /// If the thread could not be started: without it no deadline would hold.
    pub(crate) fn run(&self) -> Result<Running<'_>, &std::io::Error> {
        let thread = self
            .thread
            .get_or_init(|| start(Arc::clone(&self.shared)))
            .as_ref()?;
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            thread.unpark();
        }
        Ok(Running(&self.shared))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // The thread ends when it finds the engines gone; wake it to look.
        if let Some(Ok(thread)) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start(shared: Arc<Shared>) -> std::io::Result<Thread> {
    let thread = std::thread::Builder::new()
        .name("axo-wasm-epoch".into())
        .spawn(move || tick(&shared))?;
    Ok(thread.thread().clone())
}

fn tick(shared: &Shared) {
    let mut idle = 0;
    while let Some(engines) = shared.engines.upgrade() {
        for engine in engines.existing() {
            engine.increment_epoch();
        }
        drop(engines);
        idle = if shared.running.load(Ordering::SeqCst) == 0 {
            idle + 1
        } else {
            0
        };
        if idle < IDLE_TICKS {
            std::thread::sleep(TICK);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // A call that began before `asleep` was set did not wake us, so look once more.
        if shared.running.load(Ordering::SeqCst) == 0 && shared.engines.strong_count() > 0 {
            std::thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
