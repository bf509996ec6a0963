//! What a tool sees of the host: a WASI context with the call's input, variables and directories,
//! and the functions that work on it.

mod guard;
pub(crate) mod p1;
pub(crate) mod p2;
mod quota;
mod state;

pub(crate) use state::{CallState, Streams};
