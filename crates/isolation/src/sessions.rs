//! Long-lived sandboxes in which an agent runs commands, terminals and background processes, and works
//! with files.
//!
//! ```no_run
//! use std::sync::Arc;
//! use axocoatl_isolation::sessions::{Run, SessionSpec, admit, open};
//! use axocoatl_isolation::{Places, images, policy_of};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let places = Places::of_process()?;
//! let policy = policy_of(&places)?;
//! let sessions = open(places, policy.clone())?;
//! let admitted = admit(SessionSpec::new("debian:12"), &policy)?;
//! let session = sessions.create(&admitted, Arc::new(images::Silent)).await?;
//! let finished = session.output(Run::new(["uname", "-a"]), 1 << 20).await?;
//! println!("{}", String::from_utf8_lossy(&finished.stdout));
//! sessions.remove(&session).await?;
//! # Ok(())
//! # }
//! ```

pub use axo_session::agent::proto::files::{Entry, Event, EventKind, FileKind, How, Stat, Time};
pub use axo_session::agent::proto::{
    Attach, Code, Exited, Lifetime, Limits, Metrics, Position, ProcessId, ProcessInfo, Size,
    State as ProcessState, Status, Usage, User,
};
pub use axo_session::agent::{
    Agent, Copied, CopyError, CopyLimits, CopyProgress, Files, Input, Listing, Output, Process,
    ProcessEvent, Run, Watcher,
};
pub use axo_session::{
    AdmittedSession, AgentError, Collected, Damaged, Devcontainer, DevcontainerError, Finished,
    Network, Profile, PublishedPort, Record, RecordedLimits, Refused, RefusedReason, Session,
    SessionConfig, SessionError, SessionId, SessionLimits, SessionName, SessionNameError,
    SessionSpec, SessionTier, Sessions, SpecError, State, SyncError, SyncOptions, Synced,
    Transport, admit,
};

use crate::{Places, Policy};

/// The sessions of the owner of `places`, under these rules.
///
/// # Errors
/// As [`Sessions::open`].
pub fn open(places: Places, policy: Policy) -> Result<Sessions, SessionError> {
    Sessions::open(SessionConfig {
        images: places.images(),
        data: places.data,
        runtime: places.runtime,
        transport: Transport::here(),
        policy,
    })
}
