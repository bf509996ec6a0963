//! The table of sessions: one directory each, with its record and its lock.
//!
//! ```text
//! <data>/sessions/<id>/session.json     the record, replaced as a whole
//! <data>/sessions/<id>/lock             flocked by whoever moves the session to another state
//! <data>/sessions/<id>/directory.seen   the directory that the session has a copy of, as it was
//! <data>/sessions/<id>/directory/       that copy on its way back
//! <data>/sessions/owner                 who we are, by what our containers and sockets are told from others
//! <runtime>/sessions/<owner>/<id>/agent.sock    the agent's socket; gone after a restart of the host
//! <runtime>/sessions/<owner>/<id>/keeper.sock   for a session in a machine, its keeper's
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::record::{GENERATION, Record};
use crate::{SessionError, SessionId};

/// Longest record: environment and labels are bounded when a session is admitted.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// Where sessions are remembered.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    records: PathBuf,
    sockets: PathBuf,
}

/// Held while a session is moved from one state to another.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

/// What could not be read.
pub(crate) struct Unreadable {
    pub(crate) id: SessionId,
    pub(crate) error: SessionError,
}

impl Table {
    /// Opens the table beneath `data`, with sockets beneath `runtime`.
    pub(crate) fn open(data: &Path, runtime: &Path) -> Result<Self, SessionError> {
        let mut table = Self {
            records: data.join("sessions"),
            sockets: runtime.join("sessions"),
        };
        private_directory(&table.records)?;
        // Owners may share it.
        private_directory(&table.sockets)?;
        table.sockets.push(table.owner()?);
        private_directory(&table.sockets)?;
        Ok(table)
    }

    /// What our containers and sockets are told by, so that nobody else's are touched.
    pub(crate) fn owner(&self) -> Result<String, SessionError> {
        let path = self.records.join("owner");
        if let Some(text) = read(&path, 64)? {
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            return match uuid::Uuid::try_parse(&text) {
                Ok(_) => Ok(text),
                Err(_) => Err(SessionError::Record {
                    path,
                    why: "it is no owner's id".to_owned(),
                }),
            };
        }
        let fresh = uuid::Uuid::new_v4().to_string();
        let temporary = self.records.join(format!("owner.{fresh}"));
        write(&temporary, fresh.as_bytes())?;
        // Whoever was first decides.
        let linked = fs::hard_link(&temporary, &path);
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => Ok(fresh),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.owner(),
            Err(e) => Err(SessionError::disk("writing", &path)(e)),
        }
    }

    /// Makes room for a new session, and takes the first turn on it.
    pub(crate) fn add(&self, record: &Record) -> Result<Turn, SessionError> {
        let directory = self.directory(&record.id);
        make(&directory)?;
        let turn = self
            .take_turn(&record.id)?
            .ok_or(SessionError::Busy(record.id.clone()))?;
        // The record first: whoever ends here leaves nothing that only `gc` would find.
        let added = self
            .save(record)
            .and_then(|()| make(&self.socket_directory(&record.id)));
        if added.is_err() {
            let _ = self.remove(&record.id);
        }
        added.map(|()| turn)
    }

    /// Held from looking whether a name is free to giving it: for a moment.
    pub(crate) fn lock_names(&self) -> Result<File, SessionError> {
        let path = self.records.join("names.lock");
        let lock = open_lock(&path)?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| SessionError::disk("locking", &path)(e.into()))?;
        Ok(lock)
    }

    /// The lock of a session; `None` while somebody else has it.
    pub(crate) fn take_turn(&self, id: &SessionId) -> Result<Option<Turn>, SessionError> {
        let path = self.directory(id).join("lock");
        let lock = open_lock(&path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Turn { _lock: lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(SessionError::disk("locking", &path)(e.into())),
        }
    }

    /// Replaces the record as a whole.
    pub(crate) fn save(&self, record: &Record) -> Result<(), SessionError> {
        let directory = self.directory(&record.id);
        let path = directory.join("session.json");
        let temporary = directory.join(format!("session.{}", uuid::Uuid::new_v4().simple()));
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| SessionError::disk("writing", &path)(io::Error::other(e)))?;
        let replaced = write(&temporary, &text).and_then(|()| {
            fs::rename(&temporary, &path).map_err(SessionError::disk("replacing", &path))
        });
        if replaced.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        replaced?;
        sync(&directory)
    }

    /// The record of a session; `None` if there is none.
    pub(crate) fn load(&self, id: &SessionId) -> Result<Option<Record>, SessionError> {
        let path = self.directory(id).join("session.json");
        let Some(text) = read(&path, MAX_RECORD_BYTES)? else {
            return Ok(None);
        };
        let damaged = |why: String| SessionError::Record {
            path: path.clone(),
            why,
        };
        let record: Record = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if record.generation != GENERATION {
            return Err(damaged(format!(
                "it is of generation {}",
                record.generation
            )));
        }
        if record.id != *id {
            return Err(damaged(format!("it is of session {}", record.id)));
        }
        Ok(Some(record))
    }

    /// Every record, oldest first, and what could not be read.
    pub(crate) fn all(&self) -> Result<(Vec<Record>, Vec<Unreadable>), SessionError> {
        let (mut records, mut unreadable) = (Vec::new(), Vec::new());
        for id in self.ids(&self.records)? {
            match self.load(&id) {
                Ok(Some(record)) => records.push(record),
                // Being made just now, or a rest; `gc` knows.
                Ok(None) => {}
                Err(error) => unreadable.push(Unreadable { id, error }),
            }
        }
        records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok((records, unreadable))
    }

    /// Ids with a directory of any kind.
    pub(crate) fn known(&self) -> Result<Vec<SessionId>, SessionError> {
        let mut ids = self.ids(&self.records)?;
        ids.extend(self.ids(&self.sockets)?);
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn ids(&self, directory: &Path) -> Result<Vec<SessionId>, SessionError> {
        let entries = fs::read_dir(directory).map_err(SessionError::disk("listing", directory))?;
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry
                .map_err(SessionError::disk("listing", directory))?
                .file_name();
            ids.extend(name.to_str().and_then(|name| SessionId::parse(name).ok()));
        }
        Ok(ids)
    }

    /// Removes everything that is remembered of a session.
    pub(crate) fn remove(&self, id: &SessionId) -> Result<(), SessionError> {
        self.remove_socket(id)?;
        remove_all(&self.directory(id))
    }

    /// Removes the directory of a session's socket.
    pub(crate) fn remove_socket(&self, id: &SessionId) -> Result<(), SessionError> {
        remove_all(&self.socket_directory(id))
    }

    fn directory(&self, id: &SessionId) -> PathBuf {
        self.records.join(id.as_str())
    }

    /// What is remembered of the directory that a session has a copy of.
    pub(crate) fn seen(&self, id: &SessionId) -> PathBuf {
        self.directory(id).join("directory.seen")
    }

    /// Where that copy is put on its way back.
    pub(crate) fn beside(&self, id: &SessionId) -> PathBuf {
        self.directory(id).join("directory")
    }

    /// Removes what is there of a copy that nobody brings back any more.
    pub(crate) fn remove_beside(&self, id: &SessionId) -> Result<(), SessionError> {
        remove_all(&self.beside(id))
    }

    /// Where the socket of a session's agent, or of the keeper of its machine, is.
    pub(crate) fn socket_directory(&self, id: &SessionId) -> PathBuf {
        self.sockets.join(id.as_str())
    }

    /// Where things of all sessions are kept.
    pub(crate) fn shared(&self) -> &Path {
        &self.records
    }
}

/// Makes a directory that only we can enter, and refuses one that is somebody else's.
pub(crate) fn private_directory(path: &Path) -> Result<(), SessionError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(SessionError::disk("making", path))?;
    let found = fs::symlink_metadata(path).map_err(SessionError::disk("looking at", path))?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
        return Err(SessionError::NotOurs(path.to_owned()));
    }
    Ok(())
}

fn open_lock(path: &Path) -> Result<File, SessionError> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)
        .map_err(SessionError::disk("locking", path))
}

fn make(path: &Path) -> Result<(), SessionError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(SessionError::disk("making", path))
}

fn remove_all(path: &Path) -> Result<(), SessionError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(SessionError::disk("removing", path)(e))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), SessionError> {
    let write = || {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(SessionError::disk("writing", path))
}

fn sync(directory: &Path) -> Result<(), SessionError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(SessionError::disk("syncing", directory))
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, SessionError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(SessionError::disk("opening", path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(SessionError::disk("reading", path))?;
    if bytes.len() as u64 > limit {
        return Err(SessionError::Record {
            path: path.to_owned(),
            why: format!("it is longer than {limit} bytes"),
        });
    }
    Ok(Some(bytes))
}
