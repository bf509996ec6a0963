//! Podman on this host: whether it is there, whether a container of ours starts with every limit in
//! force, what stops it, and what would help.
//!
//! Docker is deliberately not used: podman is rootless, has no daemon, and runs on every system.
//!
//! | ask | by |
//! |---|---|
//! | is there a podman? | [`detect`], 30 ms |
//! | install it, start its machine | [`ensure_ready`] |
//! | does a container start, and how? | [`probe`]; [`working`] remembers |
//! | repair what stops it | [`plan`] says how, [`fix`] does it |
//! | run podman that way | [`Podman::with`] a [`Combination`] |
//! | is this container limited? | [`effect`] |
//!
//! Nothing here changes the host but `ensure_ready`, `carry_out` and `fix`.
#![warn(missing_docs)]

mod attached;
mod checks;
mod classify;
mod combination;
mod command;
mod effect;
mod environment;
mod error;
mod excerpt;
mod findings;
mod group;
mod host;
mod limits;
mod machine;
mod os;
mod probe;
mod readiness;
mod repair;
mod root;
mod store;
mod trial;
mod ulimits;
mod version;

pub(crate) use attached::{Attached, Ended, Held};
pub(crate) use checks::unconnected;
pub use combination::{CgroupManager, Combination, Root, Runtime, Ulimits};
pub use command::{Output, Passed, Podman};
pub use effect::{Effect, effect};
pub use error::PodmanError;
pub use findings::{Cause, Finding, Repair};
pub use host::Host;
pub use limits::Limits;
pub use os::Os;
pub use probe::{Bridge, ProbeRequest, Probed, Proof, Unready, probe, working};
pub use readiness::{
    PodmanReadiness, detect, detect_on, ensure_ready, ensure_ready_on, manual_install_hint,
    manual_install_hint_on,
};
pub use repair::{Plan, Progress, Step, carry_out, fix, plan};
pub use trial::Witness;
pub use ulimits::HardLimits;
pub use version::Version;
