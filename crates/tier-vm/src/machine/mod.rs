//! One microVM: Firecracker in its jail, supervised by a runner.
//!
//! ```text
//! MachineConfig ──boot────▶ Machine ──connect──▶ a stream to the guest's agent
//!               ──restore─▶    │
//!                              ├──snapshot──▶ (files; the machine is gone)
//!                              └──end───────▶ (gone)
//! ```
//!
//! Dropped in any state, the machine ends: its runner sees the socket close. One that may be kept is
//! left instead ([`Machine::leave`]), and reached through its [`Keeper`].

mod boot;
mod config;
mod connect;
mod console;
mod end;
mod error;
mod jail;
mod keeper;
mod snapshot;
mod user;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axo_runner::{JAILER_DONE, Reply, Request};
use axo_tier_oci::supervise::{Runner, RunnerError};
use tokio::sync::Mutex;

use crate::api::{Api, ApiError};

pub(crate) use boot::RESTORING;
pub use config::{Guest, MachineConfig};
pub use console::CONSOLE_KEPT_BYTES;
pub use end::{End, How};
pub use error::MachineError;
pub(crate) use jail::JailRoot;
pub use keeper::{Ending, Keeper, KeeperError, Keeping};
pub(crate) use snapshot::{MEMORY, STATE};
pub use snapshot::{SnapshotFiles, SnapshotTarget};
pub use user::MachineUser;

use console::Console;

/// How long the last of what a machine writes is waited for.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// How long after a broken connection the end of the machine is waited for, which explains it.
const EXPLAIN_TIME: Duration = Duration::from_secs(1);

/// A machine that runs. Its fields are in the order in which they are to go.
pub struct Machine {
    /// Its end is the machine's.
    runner: Runner,
    root: Arc<JailRoot>,
    api: Api,
    console: Console,
    /// How it ended, once that is known.
    ended: Mutex<Option<End>>,
    /// Nobody else's as long as the machine lives.
    user: MachineUser,
    /// To which file its snapshot goes, if one is to be made.
    target: Option<SnapshotTarget>,
}

impl Machine {
    /// The number of the user that Firecracker runs as.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user.number()
    }

    /// What it wrote to its console last, at most [`CONSOLE_KEPT_BYTES`]. Hostile.
    #[must_use]
    pub fn console(&self) -> Vec<u8> {
        self.console.kept()
    }

    /// Whether it still lives, as far as can be told without waiting.
    #[must_use]
    pub fn lives(&self) -> bool {
        // A runner has nothing to say here but that it ended.
        // Whoever waits for that has not heard it.
        let unheard = self.ended.try_lock().map_or(true, |ended| ended.is_none());
        unheard && self.runner.is_silent()
    }

    /// The last lines of its console. Hostile.
    pub(crate) fn last_lines(&self) -> String {
        self.console.last_lines()
    }

    /// Waits for its end. Can be dropped and called again, and by several at once.
    pub async fn ended(&self) -> End {
        let mut ended = self.ended.lock().await;
        if let Some(end) = &*ended {
            return end.clone();
        }
        let end = match self.runner.hear().await {
            Ok((Reply::MachineEnded(told), _)) => End::of_machine(told, self.root.has(JAILER_DONE)),
            Ok(_) => End::of_runner(&RunnerError::Confused),
            Err(error) => End::of_runner(&error),
        };
        // Nothing is waited for between hearing and noting it.
        *ended = Some(end.clone());
        end
    }

    /// Ends it, and waits until nothing of it is left.
    ///
    /// # Errors
    /// If the runner does not do that, or cannot tell.
    pub async fn end(self) -> Result<End, MachineError> {
        const DOING: &str = "ending the machine";
        let runner = |source| MachineError::Runner {
            doing: DOING,
            source,
        };
        let ended = self.runner.end(async { Ok(self.ended().await) });
        let end = ended.await.map_err(runner)?;
        match self.runner.closed().await {
            // It was heard in place of how the machine ended.
            Ok(()) | Err(RunnerError::Gone) => Ok(end),
            Err(source) => Err(runner(source)),
        }
    }

    /// Leaves it to its keeper: it goes on without us from now on.
    ///
    /// # Errors
    /// [`MachineError::Ended`] if it has just ended, and [`MachineError::Runner`]; there is no machine
    /// then.
    pub async fn leave(self) -> Result<(), MachineError> {
        const DOING: &str = "leaving the machine to its keeper";
        let of_runner = |source| MachineError::Runner {
            doing: DOING,
            source,
        };
        self.runner
            .tell(&Request::Keep, &[])
            .await
            .map_err(of_runner)?;
        match self.runner.answer().await.map_err(of_runner)? {
            (Reply::Kept, _) => {
                self.runner.leave();
                Ok(())
            }
            (Reply::MachineEnded(told), _) => {
                let end = End::of_machine(told, self.root.has(JAILER_DONE));
                Err(self.ended_while(DOING, end).await)
            }
            _ => Err(of_runner(RunnerError::Confused)),
        }
    }

    /// Does what Firecracker's API is asked, unless the machine ends: then that is why it is not done.
    async fn asking<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, MachineError> {
        let failed = tokio::select! {
            biased;
            done = work => match done {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            },
            end = self.ended() => return Err(self.ended_while(doing, end).await),
        };
        // One that says why it will not need not be asked how it ended: over a snapshot it does, and
        // whoever keeps that has to know that it is the snapshot.
        let refused = matches!(failed, ApiError::Refused { .. });
        if !refused && let Ok(end) = tokio::time::timeout(EXPLAIN_TIME, self.ended()).await {
            return Err(self.ended_while(doing, end).await);
        }
        Err(MachineError::Api {
            doing,
            source: failed,
            console: self.console.last_lines(),
        })
    }

    /// The error of an operation in whose middle the machine ended.
    async fn ended_while(&self, doing: &'static str, end: End) -> MachineError {
        self.console.settle(SETTLE_TIME).await;
        MachineError::Ended {
            doing,
            how: end.how,
            console: self.console.last_lines(),
        }
    }
}
