//! Tier 2: OCI containers, each supervised by a runner process of its own.
//!
//! A tool is an OCI bundle or an image of the store. Its way through this crate:
//!
//! ```text
//! PlacedCall ──▶ tool: bundle or image, opened and checked; nothing is made yet
//!                  │
//!                  ├─▶ pool: a container that waits ──────┐
//!                  └─▶ runner: a new container            ▼
//!                        (spec, seccomp, host)     call: input in, streams and output file out
//!                                                         │
//!                                         Finished ◀──────┘  the runner clears up
//! ```
//!
//! What confines a tool: user, pid, network, ipc, uts, mount and cgroup namespaces of its own; no
//! capability and no new privileges; a seccomp filter; a read-only root; bounded scratch space;
//! cgroup limits; no network. What a killed process leaves: the kernel ends the container with its
//! runner, a runner ends its container when the engine is gone, and `reap` removes the cgroups of
//! runners that are gone, and kills what is in them.
#![warn(missing_docs)]

mod call;
mod contained;
mod contained_session;
mod container_spec;
mod executor;
mod failed;
mod filling;
mod host;
mod pool;
mod runner;
mod sandbox;
mod seccomp;
mod spec;
mod streams;
pub mod supervise;
mod tool;

pub use contained::{ContainedEnd, ContainedTool, ContainedTools};
pub use contained_session::ContainedSession;
pub use executor::{OciConfig, OciExecutor, reap};
pub use host::CgroupDriver;
pub use sandbox::Stopped;
pub use tool::overridden;
