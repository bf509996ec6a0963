//! Tier 3: microVMs by Firecracker in its jailer, each supervised by a runner process of its own.
#![warn(missing_docs)]

pub mod api;
pub mod kvm;
pub mod machine;
