//! Files of a session, beneath a directory that the kernel does not let them leave.

use std::sync::Arc;
use std::time::Duration;

use axo_guest_proto::files::{
    Entry, Event, How, List, MakeDirectory, MakeLink, Move, Place, Read, Stat, Write,
};
use axo_guest_proto::{Code, Failure, Kind, MAX_PAYLOAD, Message as _, Reply, Request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::AgentError;
use super::connection::{ANSWER, Connection, Endpoint, Receiver, within};
use crate::directory::Identity;

/// How long the listing of a tree may take.
const LISTING: Duration = Duration::from_secs(600);

/// Most bytes of the names and link targets of a listing.
const MAX_LISTING_BYTES: usize = 64 << 20;

/// Files beneath one directory of a session. Paths are relative to it.
#[derive(Clone, Debug)]
pub struct Files {
    endpoint: Endpoint,
    root: Vec<u8>,
    /// Directories of this host that sessions can write.
    writable: Arc<[Identity]>,
}

/// What is in a directory.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// In no order.
    pub entries: Vec<Entry>,
    /// Whether there is more than was asked for.
    pub more: bool,
}

/// Changes of files as they happen.
pub struct Watcher {
    connection: Connection,
}

impl Files {
    pub(super) fn new(endpoint: Endpoint, root: Vec<u8>) -> Self {
        Self {
            endpoint,
            root,
            writable: Arc::default(),
        }
    }

    /// The same on a host where sessions can write in these directories.
    pub(crate) fn among(mut self, writable: Arc<[Identity]>) -> Self {
        self.writable = writable;
        self
    }

    pub(super) fn writable(&self) -> &[Identity] {
        &self.writable
    }

    pub(super) fn root(&self) -> &[u8] {
        &self.root
    }

    fn place(&self, path: impl AsRef<[u8]>) -> Place {
        Place {
            root: self.root.clone(),
            path: path.as_ref().to_vec(),
        }
    }

    /// Writes the bytes of a regular file to `to`, as it takes them, and says what the file is.
    ///
    /// # Errors
    /// [`AgentError`]; what was written before it stays.
    pub async fn read(
        &self,
        path: impl AsRef<[u8]>,
        no_follow: bool,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Stat, AgentError> {
        let request = Request::Read(Read {
            place: self.place(path),
            offset: 0,
            length: None,
            no_follow,
        });
        let mut connection = self.endpoint.ask(&request).await?;
        let stat = match connection.reply().await? {
            Reply::Stat(stat) => stat,
            other => return Err(AgentError::unexpected(&other)),
        };
        loop {
            match connection.receiver.frame(Some(ANSWER)).await? {
                Kind::Output if connection.receiver.payload().is_empty() => return Err(NOTHING),
                Kind::Output => to
                    .write_all(connection.receiver.payload())
                    .await
                    .map_err(AgentError::host("writing what was read"))?,
                Kind::Control => match Reply::from_payload(connection.receiver.payload())? {
                    Reply::Done => break,
                    other => return Err(AgentError::unexpected(&other)),
                },
                _ => {
                    return Err(AgentError::Unexpected {
                        answer: "other bytes than a file's",
                    });
                }
            }
        }
        to.flush()
            .await
            .map_err(AgentError::host("writing what was read"))?;
        Ok(stat)
    }

    /// The bytes of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`AgentError::Failed`] with [`Code::Limit`] if it is larger.
    pub async fn read_to_vec(
        &self,
        path: impl AsRef<[u8]>,
        limit: usize,
    ) -> Result<Vec<u8>, AgentError> {
        let request = Request::Read(Read {
            place: self.place(path),
            offset: 0,
            length: Some(limit as u64 + 1),
            no_follow: false,
        });
        let mut connection = self.endpoint.ask(&request).await?;
        match connection.reply().await? {
            Reply::Stat(_) => {}
            other => return Err(AgentError::unexpected(&other)),
        }
        let mut bytes = Vec::new();
        loop {
            match connection.receiver.frame(Some(ANSWER)).await? {
                Kind::Output if connection.receiver.payload().is_empty() => return Err(NOTHING),
                Kind::Output if bytes.len() + connection.receiver.payload().len() <= limit => {
                    bytes.extend_from_slice(connection.receiver.payload());
                }
                Kind::Output => {
                    return Err(AgentError::Failed(Failure::new(
                        Code::Limit,
                        None,
                        format!("the file has more than {limit} bytes"),
                    )));
                }
                Kind::Control => match Reply::from_payload(connection.receiver.payload())? {
                    Reply::Done => return Ok(bytes),
                    other => return Err(AgentError::unexpected(&other)),
                },
                _ => {
                    return Err(AgentError::Unexpected {
                        answer: "other bytes than a file's",
                    });
                }
            }
        }
    }

    /// Writes a regular file from all that `from` gives, and says how much that was. A new or
    /// replaced file is there whole or not at all.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn write(
        &self,
        path: impl AsRef<[u8]>,
        how: How,
        mode: Option<u32>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<u64, AgentError> {
        let request = Request::Write(Write {
            place: self.place(path),
            how,
            mode,
            owner: None,
            make_parents: false,
            no_follow: true,
        });
        let connection = self.endpoint.send(&request).await?;
        let Connection {
            mut receiver,
            mut sender,
            ..
        } = connection;
        let mut chunk = vec![0; MAX_PAYLOAD];
        loop {
            let read = from
                .read(&mut chunk)
                .await
                .map_err(AgentError::host("reading what is to be written"))?;
            if let Err(error) = sender.content(&chunk[..read]).await {
                // It has said why before it closed.
                return Err(match written(&mut receiver).await {
                    Err(why @ AgentError::Failed(_)) => why,
                    _ => error,
                });
            }
            if read == 0 {
                break;
            }
        }
        written(&mut receiver).await
    }

    /// What is in a directory, `depth` directories deep, `limit` entries at most.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn list(
        &self,
        path: impl AsRef<[u8]>,
        depth: u32,
        limit: u64,
    ) -> Result<Listing, AgentError> {
        let request = Request::List(List {
            place: self.place(path),
            depth,
            limit,
        });
        within(LISTING, async {
            let mut connection = self.endpoint.ask(&request).await?;
            let (mut listing, mut bytes) = (Listing::default(), 0);
            loop {
                match connection.reply().await? {
                    Reply::Entries(entries)
                        if !entries.is_empty()
                            && (listing.entries.len() + entries.len()) as u64 <= limit =>
                    {
                        let target = |entry: &Entry| entry.stat.target.as_ref().map_or(0, Vec::len);
                        let size = |entry: &Entry| entry.path.len() + target(entry);
                        bytes += entries.iter().map(size).sum::<usize>();
                        if bytes > MAX_LISTING_BYTES {
                            return Err(AgentError::Failed(Failure::new(
                                Code::Limit,
                                None,
                                format!("its names have more than {MAX_LISTING_BYTES} bytes"),
                            )));
                        }
                        listing.entries.extend(entries);
                    }
                    Reply::Listed { more } => {
                        listing.more = more;
                        return Ok(listing);
                    }
                    other => return Err(AgentError::unexpected(&other)),
                }
            }
        })
        .await
    }

    /// What is known about a file.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn stat(&self, path: impl AsRef<[u8]>, no_follow: bool) -> Result<Stat, AgentError> {
        let request = Request::Stat {
            place: self.place(path),
            no_follow,
        };
        within(ANSWER, async {
            match self.endpoint.ask(&request).await?.reply().await? {
                Reply::Stat(stat) => Ok(stat),
                other => Err(AgentError::unexpected(&other)),
            }
        })
        .await
    }

    /// Makes a directory; with `parents`, what is missing before it, and it may be there.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn make_directory(
        &self,
        path: impl AsRef<[u8]>,
        mode: u32,
        parents: bool,
    ) -> Result<(), AgentError> {
        self.done(&Request::MakeDirectory(MakeDirectory {
            place: self.place(path),
            mode,
            owner: None,
            parents,
        }))
        .await
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn make_link(
        &self,
        path: impl AsRef<[u8]>,
        target: impl Into<Vec<u8>>,
    ) -> Result<(), AgentError> {
        self.done(&Request::MakeLink(MakeLink {
            place: self.place(path),
            target: target.into(),
            owner: None,
        }))
        .await
    }

    /// Sets the mode of a file or directory.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn set_mode(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<(), AgentError> {
        self.done(&Request::SetMode {
            place: self.place(path),
            mode,
        })
        .await
    }

    /// Moves something.
    ///
    /// # Errors
    /// [`AgentError::Failed`] with [`Code::Exists`] if something is there and not to be replaced.
    pub async fn rename(
        &self,
        from: impl Into<Vec<u8>>,
        to: impl Into<Vec<u8>>,
        replace: bool,
    ) -> Result<(), AgentError> {
        self.done(&Request::Move(Move {
            root: self.root.clone(),
            from: from.into(),
            to: to.into(),
            replace,
        }))
        .await
    }

    /// Removes something; a directory with what is in it if `recursive`.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn remove(&self, path: impl AsRef<[u8]>, recursive: bool) -> Result<(), AgentError> {
        self.done(&Request::Remove {
            place: self.place(path),
            recursive,
        })
        .await
    }

    /// Tells what changes, from the moment this returns.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn watch(
        &self,
        path: impl AsRef<[u8]>,
        recursive: bool,
    ) -> Result<Watcher, AgentError> {
        let request = Request::Watch {
            place: self.place(path),
            recursive,
        };
        let mut connection = self.endpoint.ask(&request).await?;
        match connection.reply().await? {
            Reply::Watching => Ok(Watcher { connection }),
            other => Err(AgentError::unexpected(&other)),
        }
    }

    async fn done(&self, request: &Request) -> Result<(), AgentError> {
        within(ANSWER, async {
            self.endpoint.ask(request).await?.done().await
        })
        .await
    }
}

/// Frames without bytes bring no file to its end.
const NOTHING: AgentError = AgentError::Unexpected {
    answer: "no bytes where a file's were due",
};

/// What the agent says when it has heard all of a file.
async fn written(receiver: &mut Receiver) -> Result<u64, AgentError> {
    receiver.hello().await?;
    match receiver.reply().await? {
        Reply::Written { bytes } => Ok(bytes),
        other => Err(AgentError::unexpected(&other)),
    }
}

impl Watcher {
    /// The next changes, however long they take.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn next(&mut self) -> Result<Vec<Event>, AgentError> {
        let receiver = &mut self.connection.receiver;
        match receiver.frame(None).await? {
            Kind::Control => match Reply::from_payload(receiver.payload())? {
                Reply::Events(events) => Ok(events),
                other => Err(AgentError::unexpected(&other)),
            },
            _ => Err(AgentError::Unexpected {
                answer: "bytes where events were due",
            }),
        }
    }
}
