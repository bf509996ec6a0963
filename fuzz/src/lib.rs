//! What several fuzz targets need.

use std::error::Error;
use std::os::unix::fs::chroot;
use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, thread};

use axo_image::{Store, StoreOptions};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Longest text of an error, in bytes: what a stranger wrote is repeated in part at most.
const MAX_ERROR_BYTES: usize = 4096;

/// An error and its causes have a text, and no stranger decides how long it is.
///
/// # Panics
/// It has none, or it is too long.
pub fn told_shortly(error: &dyn Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let length = text.len();
        assert!(length > 0, "an error without a text");
        assert!(length <= MAX_ERROR_BYTES, "{length} bytes: {text:.200}");
        next = error.source();
    }
}

/// What an image may unpack to, in bytes.
pub const MAX_UNPACKED_BYTES: u64 = 1 << 20;

/// Does `work` with an image store, in a thread whose root directory has that store, `/store`, and
/// nothing else: a path that leads out of where it should stay does no harm, and is seen.
///
/// One directory serves all runs. It is left where temporary files are.
///
/// # Panics
/// Whoever runs it is not root, or `work` panics.
pub fn with_store(work: impl FnOnce(&Store) + Send) {
    static HOME: LazyLock<Box<Path>> =
        LazyLock::new(|| tempfile::tempdir().expect("a directory").keep().into());
    static STORE: LazyLock<Store> = LazyLock::new(|| {
        let options = StoreOptions {
            max_unpacked_bytes: MAX_UNPACKED_BYTES,
            max_files: 1000,
        };
        Store::open_with("/store".as_ref(), options).expect("a store")
    });
    let home: &Path = &HOME;
    let confined = || {
        // SAFETY: this thread is new, and nobody relies on its directories being theirs too.
        unsafe { unshare_unsafe(UnshareFlags::FS) }.expect("directories of its own");
        chroot(home).expect("run it as root, which it needs for a root directory of its own");
        env::set_current_dir("/").expect("it is there");
        work(&STORE);
        assert_eq!(entries("/"), ["store"], "something was made outside");
    };
    thread::scope(|scope| scope.spawn(confined).join().expect("it ends"));
}

/// The names in a directory, sorted.
///
/// # Panics
/// It cannot be listed.
pub fn entries(directory: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
