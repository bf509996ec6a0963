//! A machine's one tool: its container is made, waits, runs, and its end is told.
//!
//! ```text
//! (nothing) ──prepare.rs──▶ Prepared ──run.rs──▶ Running ──▶ (ended)
//! ```
//!
//! The container is the runner's, which is a process of its own, the very same as on tier oci: its
//! socket is all that holds it. Whoever drops one of these states closes that, and the runner ends
//! whatever there is of the container. In its place a machine may have a session, whose container stays.
//! What the tool writes comes through two pipes that are read no faster than the host takes it, and no
//! further than their limit.

mod ahead;
mod prepare;
mod run;
mod runner;
mod session;
mod slot;
mod streams;

pub(crate) use prepare::prepare;
pub(crate) use run::run;
pub(crate) use session::prepare as prepare_session;
pub(crate) use slot::{Site, Slot};
