//! Compiled code on disk.
//!
//! Loading compiled code runs it, so an entry is trusted like a program of ours: the directory and
//! every entry must belong to this user and be writable by nobody else, entries are opened without
//! following links, and each ends with the digest of what it holds, which is checked on the very
//! file that is then mapped. An entry that fails a check is discarded and compiled anew.
//!
//! ```text
//! <key>.cwasm   compiled code ‖ trailer (magic, SHA-256 of the code, its length)
//! tmp-<shard>-… an entry being written; complete ones are renamed into place
//! lock-<shard>  held while compiling, so that two processes do not compile the same code
//! ```
//!
//! The key is a digest of the code, the engine's version and its settings. The shard is the key's
//! first digit.

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use crate::code::hex;

/// Last bytes of an entry: 32 of digest, 8 of length, 8 of magic.
const TRAILER_BYTES: usize = 48;
/// Marks the trailer; changes with the layout.
const MAGIC: &[u8; 8] = b"axocwas1";
/// How long another process's compilation of the same shard is waited for. Longer than the
/// longest compilation; after it we compile without the lock, which costs work but nothing else.
const LOCK_PATIENCE: Duration = Duration::from_secs(150);
/// How often a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The directory of compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    directory: OwnedFd,
}

/// The name of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key(String);

/// A checked entry, open for mapping.
pub(crate) struct Entry {
    pub(crate) file: File,
}

/// Held while compiling.
pub(crate) struct ShardLock {
    _lock: Option<File>,
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("{doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the cache directory {path} {problem}: compiled code in it could be somebody else's")]
    Unsafe { path: PathBuf, problem: String },
}

impl CacheError {
    /// Whether there is no room on the disk, as opposed to something being wrong.
    pub(crate) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

impl Cache {
    /// Opens the cache at `path`, making the directory if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let io = |doing| {
            move |source| CacheError::Io {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        make_private_directory(path).map_err(io("making the cache directory"))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| io("opening the cache directory")(e.into()))?;
        let stat = rustix::fs::fstat(&directory)
            .map_err(|e| io("examining the cache directory")(e.into()))?;
        if let Some(problem) = not_ours(stat.st_uid, stat.st_mode) {
            return Err(CacheError::Unsafe {
                path: path.to_owned(),
                problem,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            directory,
        })
    }

    /// The key of `code` (its digest) compiled by `engine`.
    pub(crate) fn key(engine: &Engine, digest: &str) -> Key {
        let mut hasher = DigestHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.update(env!("CARGO_PKG_VERSION"));
        hasher.0.update(digest);
        Key(hex(&hasher.0.finalize()))
    }

    /// The entry of `key`, if there is a sound one. A damaged or foreign one is removed, loudly.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        let name = key.file_name();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.directory, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return self.discard(&name, "is a symbolic link"),
            Err(source) => return Err(self.error("opening", &name, source.into())),
        };
        let metadata = file
            .metadata()
            .map_err(|e| self.error("examining", &name, e))?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return self.discard(&name, "is not a plain file");
        }
        if let Some(problem) = not_ours(metadata.uid(), metadata.mode()) {
            return self.discard(&name, &problem);
        }
        match verify(&file, metadata.len()) {
            Ok(true) => Ok(Some(Entry { file })),
            Ok(false) => self.discard(&name, "does not match its own digest"),
            Err(source) => Err(self.error("reading", &name, source)),
        }
    }

    /// Removes the entry of `key`, which did not load.
    pub(crate) fn remove(&self, key: &Key, why: &str) -> Result<(), CacheError> {
        self.discard(&key.file_name(), why).map(|_| ())
    }

    /// Waits for other processes that compile in the shard of `key`, then keeps them out, and
    /// removes what a dead one left half written.
    pub(crate) async fn lock(&self, key: &Key) -> Result<ShardLock, CacheError> {
        let name = format!("lock-{}", key.shard());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.error("opening", &name, e.into()))?;
        let started = tokio::time::Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < LOCK_PATIENCE => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    tracing::warn!(path = %self.path.join(&name).display(), "lock held too long; compiling without it");
                    return Ok(ShardLock { _lock: None });
                }
                Err(source) => return Err(self.error("locking", &name, source.into())),
            }
        }
        self.remove_leftovers(key)?;
        Ok(ShardLock {
            _lock: Some(File::from(lock)),
        })
    }

    /// Keeps `compiled` under `key`: whole, or not at all.
    pub(crate) fn store(
        &self,
        key: &Key,
        compiled: &[u8],
        _lock: &ShardLock,
    ) -> Result<(), CacheError> {
        let temporary = format!("tmp-{}-{}", key.shard(), uuid::Uuid::new_v4().simple());
        let written = self.write_entry(&temporary, compiled).and_then(|()| {
            rustix::fs::renameat(
                &self.directory,
                &temporary,
                &self.directory,
                key.file_name(),
            )
            .map_err(io::Error::from)
        });
        written.map_err(|source| {
            // What is half written helps nobody; a failure to remove it changes nothing.
            let _ = rustix::fs::unlinkat(&self.directory, &temporary, AtFlags::empty());
            self.error("writing", &key.file_name(), source)
        })
    }

    fn write_entry(&self, name: &str, compiled: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.directory,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        file.write_all(compiled)?;
        file.write_all(&Sha256::digest(compiled))?;
        file.write_all(&(compiled.len() as u64).to_le_bytes())?;
        file.write_all(MAGIC)?;
        file.sync_all()
    }

    fn remove_leftovers(&self, key: &Key) -> Result<(), CacheError> {
        let prefix = format!("tmp-{}-", key.shard());
        let listing = rustix::fs::Dir::read_from(&self.directory)
            .map_err(|e| self.error("listing", ".", e.into()))?;
        for entry in listing.flatten() {
            if entry.file_name().to_bytes().starts_with(prefix.as_bytes()) {
                let _ = rustix::fs::unlinkat(&self.directory, entry.file_name(), AtFlags::empty());
            }
        }
        Ok(())
    }

    fn discard(&self, name: &str, problem: &str) -> Result<Option<Entry>, CacheError> {
        let path = self.path.join(name);
        tracing::warn!(path = %path.display(), problem, "cache entry discarded; its tool is compiled anew");
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(source) => Err(self.error("removing", name, source.into())),
        }
    }

    fn error(&self, doing: &'static str, name: &str, source: io::Error) -> CacheError {
        CacheError::Io {
            doing,
            path: self.path.join(name),
            source,
        }
    }
}

impl Key {
    fn file_name(&self) -> String {
        format!("{}.cwasm", self.0)
    }

    fn shard(&self) -> &str {
        &self.0[..1]
    }
}

/// Why a file or directory of this owner and mode is not ours alone.
fn not_ours(uid: u32, mode: u32) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    if uid != us {
        return Some(format!("belongs to user {uid}, not to {us}"));
    }
    let others = mode & 0o022;
    (others != 0).then(|| format!("is writable by others (mode {:04o})", mode & 0o7777))
}

fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Whether the trailer of `file`, which has `length` bytes, is that of the code before it. Reads
/// exactly `length` bytes whatever the trailer claims.
fn verify(mut file: &File, length: u64) -> io::Result<bool> {
    let Some(code_length) = length.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(false);
    };
    let mut trailer = [0; TRAILER_BYTES];
    file.seek(io::SeekFrom::Start(code_length))?;
    file.read_exact(&mut trailer)?;
    let (digest, rest) = trailer.split_at(32);
    if rest[..8] != code_length.to_le_bytes() || rest[8..] != *MAGIC {
        return Ok(false);
    }
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut left = code_length;
    while left > 0 {
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = file.read(&mut buffer[..want])?;
        if got == 0 {
            return Ok(false);
        }
        hasher.update(&buffer[..got]);
        left -= got as u64;
    }
    Ok(hasher.finalize()[..] == *digest)
}

/// Feeds what is hashed to SHA-256, so that a key is not limited to the 64 bits of a [`Hasher`].
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Only the digest is used.
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn key(name: &str) -> Key {
        Key(hex(&Sha256::digest(name)))
    }

    async fn stored(cache: &Cache, key: &Key) {
        let lock = cache.lock(key).await.unwrap();
        cache.store(key, b"machine code", &lock).unwrap();
    }

    #[tokio::test]
    async fn an_entry_that_was_changed_in_any_byte_is_discarded() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("c")).unwrap();
        let key = key("a");
        stored(&cache, &key).await;
        let path = home.path().join("c").join(key.file_name());
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(cache.find(&key).unwrap().is_none(), "byte {at}");
            assert!(!path.exists());
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
            stored(&cache, &key).await;
        }
        assert!(cache.find(&key).unwrap().is_some());
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(cache.find(&key).unwrap().is_none(), "{length} bytes");
            stored(&cache, &key).await;
        }
    }

    #[tokio::test]
    async fn a_length_that_lies_allocates_nothing() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("c")).unwrap();
        let key = key("a");
        stored(&cache, &key).await;
        let path = home.path().join("c").join(key.file_name());
        let mut lying = std::fs::read(&path).unwrap();
        let at = lying.len() - 16;
        lying[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        std::fs::write(&path, &lying).unwrap();
        assert!(cache.find(&key).unwrap().is_none());
    }

    #[tokio::test]
    async fn links_and_files_others_can_write_are_discarded() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("c")).unwrap();
        let key = key("a");
        let path = home.path().join("c").join(key.file_name());
        stored(&cache, &key).await;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.find(&key).unwrap().is_none());

        stored(&cache, &key).await;
        std::fs::hard_link(&path, home.path().join("other")).unwrap();
        assert!(cache.find(&key).unwrap().is_none());

        std::os::unix::fs::symlink(home.path().join("other"), &path).unwrap();
        assert!(cache.find(&key).unwrap().is_none());
        assert!(
            home.path().join("other").exists(),
            "the link was removed, not its target"
        );
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("c");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Cache::open(&path), Err(CacheError::Unsafe { .. })));
        std::os::unix::fs::symlink(&path, home.path().join("link")).unwrap();
        assert!(Cache::open(&home.path().join("link")).is_err());
    }

    #[tokio::test]
    async fn a_second_compiler_waits_and_what_a_dead_one_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("c");
        let cache = Cache::open(&path).unwrap();
        let key = key("a");
        let first = cache.lock(&key).await.unwrap();
        std::fs::write(path.join(format!("tmp-{}-dead", key.shard())), "half").unwrap();
        let second = cache.lock(&key);
        let early = tokio::time::timeout(Duration::from_millis(100), second).await;
        assert!(early.is_err(), "the lock was given twice");
        drop(first);
        let _second = cache.lock(&key).await.unwrap();
        assert!(!path.join(format!("tmp-{}-dead", key.shard())).exists());
    }
}
