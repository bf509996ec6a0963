//! A session's agent in a directory of this host: it does with files what is asked of it, and what a test
//! wants done in between. A file `….torn` is sent, and then cannot be read.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axo_guest_proto::files::{Entry, FileKind, Place, Stat, Time};
use axo_guest_proto::{
    Code, Failure, HEADER_BYTES, Header, Hello, Kind, MAX_PAYLOAD, Message as _, Reply, Request,
    encode,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::{Agent, Endpoint};

/// Is asked before each request, with the path it is about; a failure is answered as it is.
pub(crate) type Before = dyn Fn(&Request, &Path) -> Option<Failure> + Send + Sync;

pub(crate) struct StandIn {
    pub(crate) agent: Agent,
    /// What the session takes for `/`.
    root: TempDir,
    _socket: TempDir,
}

impl StandIn {
    pub(crate) fn new(
        before: impl Fn(&Request, &Path) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        let (root, socket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listener = UnixListener::bind(socket.path().join("agent.sock")).unwrap();
        let before: Arc<Before> = Arc::new(before);
        let inside = root.path().to_owned();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, inside.clone(), Arc::clone(&before)));
            }
        });
        Self {
            agent: Agent::new(Endpoint::Socket {
                directory: socket.path().to_owned(),
                name: "agent.sock",
            }),
            root,
            _socket: socket,
        }
    }

    /// Where the session has `path`.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        self.root.path().join(path.strip_prefix("/").unwrap())
    }
}

/// One request. Whoever asked may hang up at any time.
async fn serve(mut stream: UnixStream, root: PathBuf, before: Arc<Before>) {
    let _ = answer(&mut stream, &root, &*before).await;
}

async fn answer(stream: &mut UnixStream, root: &Path, before: &Before) -> io::Result<()> {
    stream
        .write_all(&Hello::new("0.0.0").to_frame().unwrap())
        .await?;
    frame(stream).await?;
    let (_, payload) = frame(stream).await?;
    let request = Request::from_payload(&payload).unwrap();
    let place: &Place = match &request {
        Request::Read(read) => &read.place,
        Request::Write(write) => &write.place,
        Request::List(list) => &list.place,
        Request::Stat { place, .. } | Request::SetMode { place, .. } => place,
        Request::MakeDirectory(make) => &make.place,
        Request::MakeLink(make) => &make.place,
        other => panic!("{other:?}"),
    };
    let path = Path::new(OsStr::from_bytes(&place.path));
    let done = match before(&request, path) {
        Some(failure) => Err(failure),
        None => act(stream, &request, &root.join(path)).await,
    };
    let last = done.unwrap_or_else(Reply::Failed);
    stream.write_all(&last.to_frame().unwrap()).await?;
    // Until it has been heard.
    stream.read(&mut [0]).await.map(drop)
}

async fn act(stream: &mut UnixStream, request: &Request, path: &Path) -> Result<Reply, Failure> {
    match request {
        Request::Stat { .. } => Ok(Reply::Stat(stat(path)?)),
        Request::List(list) => {
            for (number, entry) in fs::read_dir(path).map_err(failed)?.enumerate() {
                if number as u64 == list.limit {
                    return Ok(Reply::Listed { more: true });
                }
                let entry = entry.map_err(failed)?;
                let told = Entry {
                    path: entry.file_name().as_bytes().to_vec(),
                    stat: stat(&entry.path())?,
                };
                send(stream, &Reply::Entries(vec![told])).await?;
            }
            Ok(Reply::Listed { more: false })
        }
        Request::Read(_) => {
            let bytes = fs::read(path).map_err(failed)?;
            send(stream, &Reply::Stat(stat(path)?)).await?;
            for chunk in bytes.chunks(MAX_PAYLOAD) {
                let frame = encode(Kind::Output, chunk).unwrap();
                stream.write_all(&frame).await.map_err(failed)?;
            }
            if path.extension().is_some_and(|name| name == "torn") {
                return Err(failed(io::ErrorKind::PermissionDenied.into()));
            }
            Ok(Reply::Done)
        }
        Request::Write(write) => {
            let mut bytes = Vec::new();
            loop {
                match frame(stream).await.map_err(failed)? {
                    (Kind::Input, some) if some.is_empty() => break,
                    (_, some) => bytes.extend(some),
                }
            }
            fs::write(path, &bytes).map_err(failed)?;
            mode(path, write.mode.unwrap_or(0o644))?;
            Ok(Reply::Written {
                bytes: bytes.len() as u64,
            })
        }
        Request::MakeDirectory(_) => fs::create_dir(path).map(|()| Reply::Done).map_err(failed),
        Request::MakeLink(link) => symlink(OsStr::from_bytes(&link.target), path)
            .map(|()| Reply::Done)
            .map_err(failed),
        Request::SetMode { mode: to, .. } => mode(path, *to).map(|()| Reply::Done),
        other => panic!("{other:?}"),
    }
}

async fn send(stream: &mut UnixStream, reply: &Reply) -> Result<(), Failure> {
    let frame = reply.to_frame().unwrap();
    stream.write_all(&frame).await.map_err(failed)
}

async fn frame(stream: &mut UnixStream) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::parse(header).unwrap();
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    Ok((header.kind, payload))
}

fn mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn stat(path: &Path) -> Result<Stat, Failure> {
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link,
        _ => FileKind::Fifo,
    };
    let target = fs::read_link(path).ok();
    Ok(Stat {
        kind,
        size: metadata.len(),
        allocated: metadata.blocks() * 512,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        links: metadata.nlink(),
        inode: metadata.ino(),
        modified: Time::default(),
        changed: Time::default(),
        target: target.map(|target| target.as_os_str().as_bytes().to_vec()),
    })
}

fn failed(error: io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::AlreadyExists => Code::Exists,
        io::ErrorKind::PermissionDenied => Code::Denied,
        _ => Code::Io,
    };
    Failure::new(code, error.raw_os_error(), error.to_string())
}
