//! Listing a directory.

use std::os::fd::OwnedFd;

use axo_guest_proto::files::{Entry, FileKind, List};
use axo_guest_proto::{Failure, Reply, bounds};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::beneath::root_of;
use super::{at_place, in_thread, stat};
use crate::client::{Broken, Reader, Writer, with_client};

/// Entries of one reply.
const BATCH: usize = 256;

/// Bytes of names in one reply: with the rest of the entries, well below the most of a payload.
const BATCH_BYTES: usize = 64 << 10;

pub(crate) async fn list(
    list: List,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    tokio::select! {
        biased;
        done = send(list, writer) => done,
        broken = reader.closed() => Err(broken),
    }
}

async fn send(list: List, writer: &mut Writer) -> Result<(), Broken> {
    let mut lister = in_thread(move || Lister::open(&list)).await??;
    loop {
        let (back, batch) = in_thread(move || {
            let batch = lister.batch();
            (lister, batch)
        })
        .await?;
        lister = back;
        let entries = batch?;
        let over = entries.is_empty();
        if !over {
            writer.put(&Reply::Entries(entries));
        }
        if over || lister.left == 0 {
            let more = !over && !lister.open.is_empty();
            writer.put(&Reply::Listed {
                more: more || lister.skipped,
            });
            return with_client(writer.flush()).await;
        }
        with_client(writer.flush()).await?;
    }
}

/// Directories that are being listed, each in the one before it.
struct Lister {
    open: Vec<(Dir, OwnedFd, Vec<u8>)>,
    depth: usize,
    left: u64,
    /// Whether something has a path too long to be told.
    skipped: bool,
    list: List,
}

impl Lister {
    fn open(list: &List) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = root_of(&list.place)
            .and_then(|root| root.resolve(&list.place.path, flags, Mode::empty()))
            .and_then(|directory| Ok((Dir::read_from(&directory)?, directory, Vec::new())));
        Ok(Self {
            open: vec![opened.map_err(at_place("listing", &list.place))?],
            depth: usize::try_from(list.depth).unwrap_or(1).max(1),
            left: list.limit,
            skipped: false,
            list: list.clone(),
        })
    }

    /// The next entries; none is the end.
    fn batch(&mut self) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < BATCH && bytes < BATCH_BYTES && self.left > 0 {
            let next = self.next().map_err(at_place("listing", &self.list.place))?;
            let Some(entry) = next else {
                break;
            };
            bytes += entry.path.len() + entry.stat.target.as_ref().map_or(0, Vec::len);
            self.left -= 1;
            entries.push(entry);
        }
        Ok(entries)
    }

    fn next(&mut self) -> Result<Option<Entry>, Errno> {
        loop {
            let Some((entries, directory, prefix)) = self.open.last_mut() else {
                return Ok(None);
            };
            let Some(entry) = entries.read() else {
                self.open.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let mut path = prefix.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            if path.len() > bounds::MAX_PATH_BYTES {
                self.skipped = true;
                continue;
            }
            let stat = match stat::of_entry(&*directory, name) {
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            if stat.kind == FileKind::Directory && self.open.len() < self.depth {
                self.enter(name, &path);
            }
            return Ok(Some(Entry { path, stat }));
        }
    }

    /// One that cannot be entered is listed, and what is in it is not.
    fn enter(&mut self, name: &std::ffi::CStr, path: &[u8]) {
        let Some((_, parent, _)) = self.open.last() else {
            return;
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = openat(parent, name, flags, Mode::empty())
            .and_then(|directory| Ok((Dir::read_from(&directory)?, directory, path.to_vec())));
        match below {
            Ok(below) => self.open.push(below),
            Err(_) => self.skipped = true,
        }
    }
}
