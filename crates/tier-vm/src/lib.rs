//! Tier 3: microVMs, each a Firecracker process in its jail, with the container of tier oci inside.
//!
//! ```text
//! PlacedCall ──▶ tool, opened and checked as on tier oci (axo-tier-oci)
//!                  │
//!                  ▼
//!                wanted: disks, initramfs, size, what the container is made of; their key
//!                  │
//!                  ├─▶ pool: a machine that waits, renewed ──────────────────────────┐
//!                  ├─▶ snapshots: one whose container waits, restored and renewed ───┤
//!                  └─▶ machine: booted, and its container made                       ▼
//!                                                        call: input in, streams and output out
//!                                                                                    │
//!                                          Finished ◀────────────────────────────────┘  the machine is gone
//! ```
//!
//! What a machine is made of, and where it lies beneath the engine's data directory, in `microvm/`:
//!
//! ```text
//! release, or files of the operator's ──setup──▶ setups/<id>/{bin,kernel,setup.json} ◀── current
//! kernel package ──kernel──▶ ELF and modules ─────────┘                                    │
//!                                                              Artifacts::open ◀───────────┘
//! guest agent, runner, modules ──initramfs──▶ initramfs/<digest>.cpio
//! directory tree ──disk──▶ disks/<digest>.squashfs
//! a machine whose container waits ──snapshots──▶ snapshots/<key>/
//! ```
//!
//! - Nothing there is ever changed in place: it is made aside, synced and renamed, so what has its
//!   name is whole. Whoever uses a file holds a shared lock on it, and [`gc`] leaves it; but snapshots,
//!   whose files are open as long as they are used.
//! - A kernel package, a release archive and a directory tree are hostile bytes: each is bounded,
//!   and what is not understood is refused. So is every byte of a guest.
#![warn(missing_docs)]

mod agent;
pub mod api;
mod artifacts;
mod basis;
mod begin;
mod cache;
mod call;
mod digest;
mod disk;
mod executor;
mod failed;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod host;
mod initramfs;
mod kept;
mod kernel;
pub mod kvm;
mod lock;
pub mod machine;
mod places;
mod renew;
pub mod sessions;
pub mod setup;
mod sizes;
mod snapshots;
#[cfg(test)]
mod testing;
mod tree;
mod wanted;

pub use artifacts::{Artifacts, ArtifactsError, Component, Versions};
pub use begin::COMMAND_LINE;
pub use disk::{DiskError, disk_of};
pub use executor::{VmConfig, VmExecutor};
pub use files::FileError;
pub use gc::{Garbage, gc};
pub use initramfs::{Initramfs, initramfs};
pub use kept::{MachineFiles, kept, remove};
pub use kernel::KernelError;
pub use lock::LockError;
