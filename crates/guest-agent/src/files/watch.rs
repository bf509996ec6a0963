//! Watching a file, or a directory and those in it.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use axo_guest_proto::files::{EventKind, Place};
use axo_guest_proto::{Code, Failure, Reply};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::{Errno, Result};

use super::beneath::root_of;
use super::gathered::Gathered;
use super::{at_place, in_thread};
use crate::agent::Agent;
use crate::client::{Broken, Reader, Writer};
use crate::event_loop::register;

/// Most directories of one watch. One more is told as unwatched.
const MAX_WATCHES: usize = 4096;

/// How deep directories in each other are watched.
const DEPTH: usize = 64;

pub(crate) async fn watch(
    agent: &Rc<Agent>,
    place: Place,
    recursive: bool,
    reader: &mut Reader,
    writer: &mut Writer,
) -> std::result::Result<(), Broken> {
    tokio::select! {
        biased;
        done = tell(place, recursive, writer) => done,
        broken = reader.closed() => Err(broken),
        _ = agent.ending() => {
            Err(Failure::new(Code::Ending, None, "the sandbox is ending").into())
        }
    }
}

async fn tell(
    place: Place,
    recursive: bool,
    writer: &mut Writer,
) -> std::result::Result<(), Broken> {
    let failed = at_place("watching", &place);
    let begun = in_thread(move || Watcher::begin(place, recursive)).await?;
    let (mut watcher, mut events) = begun.map_err(&failed)?;
    let ready = register(watcher.inotify.try_clone()?)?;
    writer.put(&Reply::Watching);
    loop {
        let ended = events.ended;
        for batch in events.take() {
            writer.put(&Reply::Events(batch));
        }
        if ended {
            writer.put(&Reply::Done);
        }
        // As long as it takes: what happens meanwhile waits in the kernel, which tells what it lost.
        writer.flush().await?;
        if ended {
            return Ok(());
        }
        let mut guard = ready.readable().await?;
        let (back, read, drained) = in_thread(move || {
            let mut events = Gathered::default();
            let drained = watcher.read(&mut events);
            (watcher, events, drained)
        })
        .await?;
        watcher = back;
        events = read;
        if drained.map_err(&failed)? {
            guard.clear_ready();
        }
    }
}

struct Watcher {
    inotify: Arc<OwnedFd>,
    /// Opened anew each time: what is held open is never gone, and its end is to be told.
    place: Place,
    recursive: bool,
    /// Path of each watch, beneath what is watched.
    paths: HashMap<i32, Vec<u8>>,
    top: i32,
}

impl Watcher {
    fn begin(place: Place, recursive: bool) -> Result<(Self, Gathered)> {
        let root = root_of(&place)?;
        let watched = root.look(&place.path, false)?;
        let inotify = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
        let top = add(&inotify, watched.as_fd())?;
        let mut watcher = Self {
            inotify,
            place,
            recursive,
            paths: HashMap::from([(top, Vec::new())]),
            top,
        };
        let mut events = Gathered::default();
        if recursive {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match root.resolve(&watcher.place.path, flags, Mode::empty()) {
                Ok(directory) => watcher.add_below(&directory, &[], None, 0, &mut events),
                Err(Errno::NOTDIR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok((watcher, events))
    }

    /// Watches the directories in one that is watched. `found` is what to say of what is in there.
    fn add_below(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        found: Option<EventKind>,
        depth: usize,
        events: &mut Gathered,
    ) {
        let Ok(entries) = Dir::read_from(directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let is_directory = entry.file_type() == FileType::Directory;
            let below = join(path, name);
            if let Some(kind) = found {
                events.push(kind, &below, is_directory);
            }
            if is_directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(inner) = openat(directory, name, flags, Mode::empty()) {
                    self.add_tree(&inner, &below, found, depth + 1, events);
                }
            }
        }
    }

    /// Watches a directory and those in it.
    fn add_tree(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        found: Option<EventKind>,
        depth: usize,
        events: &mut Gathered,
    ) {
        let full = self.paths.len() >= MAX_WATCHES || depth > DEPTH;
        match (!full).then(|| add(&self.inotify, directory.as_fd())) {
            Some(Ok(watch)) => {
                self.paths.insert(watch, path.to_vec());
                self.add_below(directory, path, found, depth, events);
            }
            _ => events.push(EventKind::Unwatched, path, true),
        }
    }

    /// What has happened, a batch at most. Says whether that was all.
    fn read(&mut self, events: &mut Gathered) -> Result<bool> {
        let inotify = Arc::clone(&self.inotify);
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let mut kernel = inotify::Reader::new(&*inotify, &mut buffer);
        // What the kernel has handed out must be taken.
        while !kernel.is_buffer_empty() || !events.is_full() {
            match kernel.next() {
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
                Ok(told) => {
                    let (watch, flags) = (told.wd(), told.events());
                    let name = told.file_name().map(CString::from);
                    self.digest(watch, flags, told.cookie(), name.as_deref(), events);
                }
            }
        }
        Ok(false)
    }

    fn digest(
        &mut self,
        watch: i32,
        flags: ReadFlags,
        cookie: u32,
        name: Option<&CStr>,
        events: &mut Gathered,
    ) {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            events.push(EventKind::Overflow, &[], false);
            return;
        }
        if flags.contains(ReadFlags::IGNORED) {
            self.paths.remove(&watch);
            events.ended |= watch == self.top;
            return;
        }
        let Some(directory) = self.paths.get(&watch) else {
            return;
        };
        let is_directory = flags.contains(ReadFlags::ISDIR);
        let path = name.map_or_else(|| directory.clone(), |name| join(directory, name));
        let of_directory_itself = name.is_none() && watch != self.top;
        for (flag, kind) in [
            (ReadFlags::CREATE, EventKind::Created),
            (ReadFlags::MODIFY, EventKind::Modified),
            (ReadFlags::CLOSE_WRITE, EventKind::Written),
            (ReadFlags::ATTRIB, EventKind::Attributes),
            (ReadFlags::DELETE, EventKind::Removed),
            (ReadFlags::DELETE_SELF, EventKind::Removed),
            (ReadFlags::MOVED_FROM, EventKind::MovedFrom(cookie)),
            (ReadFlags::MOVED_TO, EventKind::MovedTo(cookie)),
        ] {
            // What happens to a directory in another is told by that one.
            if flags.contains(flag) && !of_directory_itself {
                events.push(kind, &path, is_directory);
            }
        }
        if self.recursive && is_directory && name.is_some() {
            if flags.contains(ReadFlags::MOVED_FROM) {
                self.leave(&path);
            }
            if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                // What was made in it before it was watched was told by nobody.
                let found = flags
                    .contains(ReadFlags::CREATE)
                    .then_some(EventKind::Created);
                self.enter(&path, found, events);
            }
        }
    }

    /// Watches a directory that has come. It may have gone again.
    fn enter(&mut self, path: &[u8], found: Option<EventKind>, events: &mut Gathered) {
        let mut full = self.place.path.clone();
        if !full.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = root_of(&self.place).and_then(|r| r.resolve(&full, flags, Mode::empty()));
        if let Ok(directory) = opened {
            let depth = path.split(|byte| *byte == b'/').count();
            self.add_tree(&directory, path, found, depth, events);
        }
    }

    /// Ceases to watch a directory that was moved away, and those in it.
    fn leave(&mut self, path: &[u8]) {
        let inotify = &self.inotify;
        self.paths.retain(|watch, watched| {
            let within = watched
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            if within {
                let _ = inotify::remove_watch(inotify, *watch);
            }
            !within
        });
    }
}

/// By descriptor: a path could lead elsewhere by now.
fn add(inotify: &OwnedFd, watched: BorrowedFd<'_>) -> Result<i32> {
    let name = format!("/proc/self/fd/{}", watched.as_raw_fd());
    let flags = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::EXCL_UNLINK;
    inotify::add_watch(inotify, name, flags)
}

fn join(directory: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}
