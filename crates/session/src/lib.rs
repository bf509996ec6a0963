//! Sessions: long-lived sandboxes in which an agent runs commands, terminals and background
//! processes, and works with files, for hours.
//!
//! ```text
//! SessionSpec ──admit(policy)──▶ AdmittedSession
//!   └─ Sessions::create           image, record, then:
//!        └─ Lifecycle             one task owns each session's life (states: see [`State`])
//!             ├─ Containers       podman, as it was proved to work on this host
//!             └─ machine            or a microVM, which its keeper keeps
//! Session ──▶ Agent               every operation is one connection to the guest agent
//! ```
//!
//! A session outlives the process that made it. Its record is on disk, its agent listens on a socket
//! in a directory of its owner, and the next process that asks for it adopts it.
#![warn(missing_docs)]

mod admit;
pub mod agent;
mod agent_program;
mod container;
mod devcontainer;
mod directory;
mod error;
mod host;
mod id;
mod in_flight;
mod lifecycle;
mod machine;
mod means;
pub mod podman;
mod record;
mod seccomp;
mod session;
mod sessions;
mod spec;
mod state;
mod sync;
mod table;
mod transport;

pub use admit::{AdmittedSession, Refused, RefusedReason, admit};
pub use agent::AgentError;
pub use devcontainer::{Devcontainer, DevcontainerError};
pub use error::SessionError;
pub use id::{SessionId, SessionName, SessionNameError};
pub use means::{prove, repair};
pub use record::{Record, RecordedLimits};
pub use session::{Finished, Session};
pub use sessions::{Collected, Damaged, SessionConfig, Sessions};
pub use spec::{
    Network, Profile, PublishedPort, SessionLimits, SessionSpec, SessionTier, SpecError,
};
pub use state::State;
pub use sync::{SyncError, SyncOptions, Synced};
pub use transport::Transport;
