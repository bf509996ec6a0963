//! Files beneath a root, for the host. Everything that may wait for a disk runs in a thread, a chunk
//! at a time; nothing waits there for a client.

mod beneath;
mod change;
mod gathered;
mod list;
mod read;
mod remove;
mod stat;
mod watch;
mod write;

use axo_guest_proto::files::Place;
use axo_guest_proto::{Code, Failure, Reply, Request};
use rustix::io::Errno;

use crate::client::Broken;

pub(crate) use list::list;
pub(crate) use read::read;
pub(crate) use watch::watch;
pub(crate) use write::write;

/// What is done at once, and answered with one reply.
pub(crate) async fn at_once(request: Request) -> Result<Reply, Broken> {
    let reply = in_thread(move || match request {
        Request::Stat { place, no_follow } => stat::stat(&place, no_follow).map(Reply::Stat),
        Request::MakeDirectory(make) => change::make_directory(&make),
        Request::MakeLink(make) => change::make_link(&make),
        Request::SetMode { place, mode } => change::set_mode(&place, mode),
        Request::Move(request) => change::rename(&request),
        Request::Remove { place, recursive } => remove::remove(&place, recursive),
        _ => Err(Failure::new(Code::Invalid, None, "no such operation")),
    });
    Ok(reply.await??)
}

/// Runs what may wait for a disk.
pub(crate) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new(Code::Ending, None, "the sandbox is ending"))
}

/// Why something could not be done with a path.
pub(crate) fn failure(doing: &str, path: &[u8], e: Errno) -> Failure {
    let path = String::from_utf8_lossy(path);
    let message = format!("{doing} {path:?}: {}", std::io::Error::from(e));
    Failure::new(code(e), Some(e.raw_os_error()), message)
}

/// The same, of a place.
fn at_place(doing: &'static str, place: &Place) -> impl Fn(Errno) -> Failure + use<> {
    let path = place.path.clone();
    move |e| failure(doing, &path, e)
}

fn code(e: Errno) -> Code {
    match e {
        Errno::NOENT => Code::NotFound,
        Errno::EXIST => Code::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Code::Denied,
        // What openat2 says of a path that leaves its root, and of a link that is none.
        Errno::XDEV | Errno::LOOP => Code::Outside,
        Errno::NOTDIR => Code::NotDirectory,
        Errno::ISDIR => Code::NotFile,
        Errno::NOTEMPTY => Code::NotEmpty,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Code::NoSpace,
        Errno::INVAL | Errno::NAMETOOLONG => Code::Invalid,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Code::Limit,
        _ => Code::Io,
    }
}
