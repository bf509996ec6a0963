//! What an image may cost. Images are hostile until proved otherwise, so every one of their
//! dimensions has an end.

use std::time::Duration;

/// Manifests and indexes, in bytes: what registries themselves accept at most.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Image configurations, in bytes. Large ones have some hundred kilobytes of history.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Layers of an image. Overlay file systems end at about 500, builders at 127.
pub const MAX_LAYERS: usize = 512;

/// Our own record of an image, in bytes: its layers and references, with room.
pub const MAX_RECORD_BYTES: u64 = 4 << 20;

/// References of one image: far more than people give, and few enough for [`MAX_RECORD_BYTES`].
pub const MAX_REFERENCES: usize = 4096;

/// The default for everything that an image unpacks to, in bytes: the largest tool images
/// (with GPU libraries) stay below.
pub const DEFAULT_MAX_UNPACKED_BYTES: u64 = 16 << 30;

/// The default for the number of entries in all layers of an image. A full desktop has some
/// hundred thousand.
pub const DEFAULT_MAX_FILES: u64 = 2_000_000;

/// A path in a layer, in bytes: `PATH_MAX` of Linux.
pub const MAX_PATH_BYTES: usize = 4096;

/// One component of a path, in bytes: `NAME_MAX` of Linux.
pub const MAX_NAME_BYTES: usize = 255;

/// How deep directories nest. Walks hold a descriptor per level, and a process may have 1024.
pub const MAX_DEPTH: usize = 128;

/// Headers before one entry of a tar, in bytes: long names and PAX records are read into memory.
pub const MAX_TAR_HEADER_BYTES: u64 = 1 << 20;

/// Credentials files, in bytes.
pub const MAX_AUTH_FILE_BYTES: u64 = 1 << 20;

/// Layers fetched at the same time: what other clients use, and registries tolerate.
pub const PARALLEL_DOWNLOADS: usize = 3;

/// How long to wait for another process to finish changing the store. Changes under this lock
/// are renames and small writes.
pub const STORE_LOCK_WAIT: Duration = Duration::from_secs(60);

/// How long to wait for another process to finish unpacking the same image.
pub const UNPACK_WAIT: Duration = Duration::from_secs(30 * 60);

/// How often a wanted lock is tried.
pub const LOCK_POLL: Duration = Duration::from_millis(20);
