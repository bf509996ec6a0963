//! The image store: gets OCI images, checks them, and unpacks them for whoever runs them.
//!
//! The way of an image:
//!
//! ```text
//! registry ──pull──▶ partial/<hex> ──digest──┐
//! archive, layout ──import──▶ staging/<id>/ ──digest──▶ blobs/sha256/<hex> ──▶ images/<hex>.json
//! tar, directory ──import──┘                                                        │
//!                                                                         find ◀────┘
//!                                                                           │
//!        Rootfs { path, lease } ◀──rename── staging/<id>/rootfs ◀──unpack───┘
//!                │                            every path beneath the root,
//!                ▼                            every byte against digest and diff_id
//!        rootfs/<key>/ (read-only use; removed only when no lease is left)
//! ```
//!
//! - `blobs/` hold bytes under the digest they have, and nothing else gets there.
//! - A record in `images/` is written last, so an image that is listed is complete.
//! - `staging/` belongs to running operations: each holds a lock on its own directory, and what
//!   lies in an unlocked one is removed at the next [`Store::open`] or [`Store::gc`].
//! - Everything that changes `images/`, or removes, does so under the store's lock. Downloading
//!   and unpacking do not hold it.
//!
//! The layers are hostile bytes: see [`crate::bounds`] for what they may cost, and the module
//! `unpack` for what they may do. Images are never executed here.
#![warn(missing_docs)]

mod blobs;
pub mod bounds;
mod config;
mod digest;
mod disk;
mod error;
mod find;
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod image;
mod import;
mod layer;
mod lock;
mod manifest;
mod operation;
mod pin;
mod platform;
mod progress;
mod record;
mod registry;
mod remove;
mod rootfs;
mod store;
mod unpack;

pub use config::{ImageConfig, parse_config};
pub use digest::{Digest, DigestError};
pub use error::{BoxError, ImageError};
pub use gc::{Garbage, GarbageItem, GarbageKind};
pub use image::Image;
pub use manifest::{Descriptor, Manifest, parse_manifest};
pub use oci_client::Reference;
pub use platform::Platform;
pub use progress::{Progress, Silent, Step};
pub use record::{Record, parse_record};
pub use registry::{Auth, InsecureHttp, PullOptions};
pub use remove::Removed;
pub use rootfs::Rootfs;
pub use store::{Store, StoreOptions};
pub use unpack::{Whiteout, parse_whiteout};
