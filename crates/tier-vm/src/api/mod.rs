//! Firecracker's HTTP API over a Unix socket: the few requests that a machine takes.
//!
//! Firecracker runs a guest that may be hostile, so its answers are: each has a deadline, and so many
//! bytes and no more.

mod client;
mod fault;
mod types;

pub(crate) use client::{Api, answered};
pub use fault::ApiError;
pub(crate) use types::{
    BackendType, BootSource, Drive, MachineSize, MemoryBackend, SnapshotCreate, SnapshotLoad,
    SnapshotType, Vsock,
};
