//! Why something was not done with a session.

use std::io;
use std::path::{Path, PathBuf};

use axo_core::one_line;
use axo_image::ImageError;
use axo_tier_vm::machine::KeeperError;
use axo_tier_vm::sessions::SessionMachineError;

use crate::agent::proto::Code;
use crate::agent::{AgentError, CopyError};
use crate::podman::PodmanError;
use crate::sync::SyncError;
use crate::{Refused, SessionId, State};

/// Why something was not done with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none of that name.
    #[error("there is no session {0:?}; `axocoatl session ls` lists them")]
    NotFound(String),
    /// Several begin so.
    #[error("{0:?} is the beginning of several sessions' ids; write more of it")]
    Ambiguous(String),
    /// The name is taken.
    #[error(
        "there is a session {0}, which has not ended; choose another name, or `axocoatl session rm {0}`"
    )]
    NameTaken(String),
    /// It is not in a state for that.
    #[error("session {called} is {state}{}; {fix}", .why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    NotReady {
        /// Which one.
        called: String,
        /// Where it is in its life.
        state: State,
        /// Why.
        why: Option<String>,
        /// What to do.
        fix: &'static str,
    },
    /// Somebody else moves it.
    #[error(
        "another process is still making, setting up or ending session {0}; wait for it, or end that \
         process, and `axocoatl session ls` clears the session"
    )]
    Busy(SessionId),
    /// The policy says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A port of this host is in use.
    #[error(
        "port {port} of this host cannot be published; choose another with --port OTHER:{session}"
    )]
    Port {
        /// On this host.
        port: u16,
        /// In the session.
        session: u16,
        /// Why.
        source: io::Error,
    },
    /// The image cannot be had.
    #[error("image {reference} of the session")]
    Image {
        /// As it was asked for.
        reference: String,
        /// Why.
        source: Box<ImageError>,
    },
    /// The image is not here and may not be fetched.
    #[error(
        "image {0} is not in the store, and no pattern of trusted_images in the policy covers it; \
         `axocoatl image pull` or `axocoatl image import` brings it"
    )]
    ForeignImage(String),
    /// It has no machine.
    #[error("the session\'s machine")]
    Machine(#[from] Box<SessionMachineError>),
    /// Its machine's keeper does not do what it should.
    #[error(
        "ending the session's machine; try it again, or end its keeper, which is the axo-runner that has \
         the keeper.sock of this session open"
    )]
    Keeper(#[from] KeeperError),
    /// Its directory was not copied into it.
    #[error("copying {} into the session{}", .path.display(), room(.source))]
    Bring {
        /// On this host, and in the session.
        path: PathBuf,
        /// Why.
        source: Box<CopyError>,
    },
    /// Its directory was not copied back.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// It would take along what is nowhere else.
    #[error(
        "session {called} has {} of its directory that this host has not; `axocoatl session sync {called}` brings them back, or says what has to be decided{}; --discard gives them up",
        counted(*.count), made_readable(.called, .unread)
    )]
    NotBroughtBack {
        /// Which one.
        called: String,
        /// How many files, directories and links.
        count: usize,
        /// Those of them that nobody can read in the session.
        unread: Vec<PathBuf>,
    },
    /// It might.
    #[error(
        "whether session {called} has changes of its directory that are not on this host cannot be told; --discard gives them up"
    )]
    NotKnown {
        /// Which one.
        called: String,
        /// Why.
        source: Box<SessionError>,
    },
    /// Podman does not do what it should.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// Podman cannot run a container of ours.
    #[error(
        "podman is not ready to run a session: {0}; `axocoatl doctor` says more, `axocoatl doctor --fix` repairs"
    )]
    Unready(String),
    /// Podman did not make a container that was to have a network, where this host seems to lack what
    /// that takes.
    #[error(
        "podman did not start the session with a network, and this host may lack what that takes: {lacks}; `axocoatl doctor` says more, `axocoatl doctor --fix` repairs"
    )]
    NotConnected {
        /// What files of the host say.
        lacks: String,
        /// What podman said.
        source: PodmanError,
    },
    /// It was started and did not get ready.
    #[error(
        "the container of session {id} started and its agent did not answer: {said}; `axocoatl doctor` tries a container"
    )]
    NotStarted {
        /// Which one.
        id: SessionId,
        /// What the container wrote.
        said: String,
    },
    /// Its agent does not do what it should.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A setup command failed.
    #[error(
        "setup command {command:?} failed with {status}: {said}; correct it, and create the session again"
    )]
    Setup {
        /// As it was asked for.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A record cannot be used.
    #[error("{}: {why}; remove its directory if the session is of no use any more", .path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A directory of ours is not ours alone.
    #[error("{} has to be a directory of this user that nobody else can enter: correct its owner and mode, or set AXOCOATL_HOME", .0.display())]
    NotOurs(PathBuf),
    /// The disk.
    #[error("{doing} {}", .path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What would help where a copy did not fit.
fn room(error: &CopyError) -> &'static str {
    match error {
        CopyError::Session { source, .. } if source.code() == Some(Code::NoSpace) => {
            ", where it has no more room than --scratch says: give it more, or a smaller directory"
        }
        _ => "",
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

/// What would have to be done first.
fn made_readable(called: &str, paths: &[PathBuf]) -> String {
    /// So many are named.
    const NAMED: usize = 5;
    if paths.is_empty() {
        return String::new();
    }
    let named: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| one_line(path))
        .collect();
    format!(
        ", once these can be read there (`axocoatl session exec {called} -- chmod -R u+rwX PATH`): {}{}",
        named.join(", "),
        if paths.len() > NAMED { ", …" } else { "" }
    )
}

impl SessionError {
    /// Whether this host has not what the session was to live in. Nothing stands in for it.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let Self::Machine(error) = self else {
            return false;
        };
        matches!(**error, SessionMachineError::Unavailable { .. })
    }

    pub(crate) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
