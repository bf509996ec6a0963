//! What every tier has in common whose sandboxes are supervised by runners: starting one and speaking
//! with it, where sandboxes are accounted, and removing what a killed runner left.

pub use crate::host::{CgroupHost, PREFIX, Unavailable};
pub use crate::runner::{LeftBehind, Runner, RunnerError};
