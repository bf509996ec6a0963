//! What every tier has in common whose sandboxes are supervised by runners: starting one and speaking
//! with it, where sandboxes are accounted, removing what a killed runner left, and keeping some that wait.

pub use crate::filling::{Filling, Fillings};
pub use crate::host::{CgroupHost, PREFIX, Unavailable, reap_of};
pub use crate::pool::{Key, Pool};
pub use crate::runner::{LeftBehind, Runner, RunnerError};
