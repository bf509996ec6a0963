//! Tier 3: microVMs, each a Firecracker process under its jailer.
//!
//! What a machine is made of, and where it lies beneath the engine's data directory, in `microvm/`:
//!
//! ```text
//! release, or files of the operator's ──setup──▶ setups/<id>/{bin,kernel,setup.json} ◀── current
//! kernel package ──kernel──▶ ELF and modules ─────────┘                                    │
//!                                                              Artifacts::open ◀───────────┘
//! guest agent, runner, modules ──initramfs──▶ initramfs/<digest>.cpio
//! directory tree ──disk──▶ disks/<digest>.squashfs
//! ```
//!
//! - Nothing there is ever changed in place: it is made aside, synced and renamed, so what has its
//!   name is whole. Whoever uses a file holds a shared lock on it, and [`gc`] leaves it.
//! - A kernel package, a release archive and a directory tree are hostile bytes: each is bounded,
//!   and what is not understood is refused.
#![warn(missing_docs)]

mod artifacts;
mod cache;
mod digest;
mod disk;
mod files;
mod gc;
mod initramfs;
mod kernel;
mod lock;
mod places;
pub mod setup;
#[cfg(test)]
mod testing;

pub use artifacts::{Artifacts, ArtifactsError, Component, Versions};
pub use disk::{DiskError, disk_of};
pub use files::FileError;
pub use gc::{Garbage, gc};
pub use initramfs::{Initramfs, initramfs};
pub use kernel::KernelError;
pub use lock::LockError;

pub mod api;
pub mod kvm;
pub mod machine;
