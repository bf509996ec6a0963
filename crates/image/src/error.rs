//! What can go wrong with images, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Any error, as the cause of another.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an image could not be fetched, kept, found, unpacked or removed.
///
/// After every one of them the store is as it was before: what was begun is removed, except parts
/// of downloads, which the next pull continues and [`crate::Store::gc`] removes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There is no such image here.
    #[error(
        "no image {reference} in the store; pull or import it, or look at the list of images for its name"
    )]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// More than one image begins like this.
    #[error("{reference} is the beginning of {count} digests; give more of it")]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// How many images match.
        count: usize,
    },
    /// It is no name of an image.
    #[error(
        "{text:?} does not name an image; write [registry/]name[:tag][@sha256:…], sha256:… or at least 12 digits of a digest"
    )]
    BadReference {
        /// What was given.
        text: String,
        /// What the parser said, where it was asked.
        source: Option<BoxError>,
    },
    /// The image is for other machines.
    #[error("{image} is not for {wanted}, only for {available}; name an image built for {wanted}")]
    Platform {
        /// Which image.
        image: String,
        /// What was wanted, `os/architecture`.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// The registry failed, or could not be reached.
    #[error("{doing} at registry {registry}; {fix}")]
    Registry {
        /// Which one.
        registry: String,
        /// What we were doing.
        doing: String,
        /// What to do.
        fix: String,
        /// What happened.
        source: BoxError,
    },
    /// The registry stopped answering.
    #[error("{doing} at registry {registry}: nothing came for {seconds} s; {fix}")]
    Stalled {
        /// Which one.
        registry: String,
        /// What we were doing.
        doing: String,
        /// How long nothing came.
        seconds: u64,
        /// What to do.
        fix: String,
    },
    /// The registry does not let us.
    #[error("registry {registry} refuses access to {image} {credentials}; {fix}")]
    Unauthorized {
        /// Which registry.
        registry: String,
        /// Which image.
        image: String,
        /// With which credentials, without any secret.
        credentials: String,
        /// What to do.
        fix: String,
    },
    /// The registry has no such image.
    #[error("registry {registry} has no image {image}; check its name and tag")]
    NoSuchImage {
        /// Which registry.
        registry: String,
        /// Which image.
        image: String,
    },
    /// Plain HTTP where it is not allowed.
    #[error(
        "registry {registry} answers without TLS, which is not allowed; have it use TLS, or allow plain HTTP (`image pull --insecure-http`): whoever is in between can then read passwords and choose what a tag means"
    )]
    InsecureRegistry {
        /// Which one.
        registry: String,
    },
    /// The credentials file cannot be used.
    #[error("credentials file {}: {problem}; {fix}", path.display())]
    AuthFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// Bytes are not those that their name promises.
    #[error("{what} is not what was announced: {actual} instead of {expected}; {fix}")]
    Digest {
        /// What was checked.
        what: String,
        /// Announced digest.
        expected: String,
        /// Digest of the bytes.
        actual: String,
        /// What to do.
        fix: String,
    },
    /// Fewer or more bytes than announced.
    #[error("{what} has {actual} bytes instead of {expected}; {fix}")]
    Size {
        /// What was checked.
        what: String,
        /// Announced size in bytes.
        expected: u64,
        /// Size in bytes.
        actual: u64,
        /// What to do.
        fix: String,
    },
    /// A manifest, configuration, archive or record that cannot be understood.
    #[error("{what}: {problem}; {fix}")]
    Malformed {
        /// What it is.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
        /// What the parser said.
        source: Option<BoxError>,
    },
    /// A layer holds something that is never unpacked.
    #[error("layer {layer}, entry {entry:?}: {problem}; {fix}")]
    Entry {
        /// Digest of the layer.
        layer: String,
        /// Path of the entry.
        entry: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A place where every tool gets a mount is something else in the image.
    #[error("the image has {path} as {kind}, where tools need a directory; build it without that")]
    MountPoint {
        /// Which path.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Past one of the bounds.
    #[error("{what} passes the limit of {limit} {unit}; {fix}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit.
        limit: u64,
        /// Its unit.
        unit: &'static str,
        /// What to do.
        fix: String,
    },
    /// Something runs in it.
    #[error("image {image} is in use; end what runs in it, then remove it")]
    InUse {
        /// Which one.
        image: String,
    },
    /// A session runs on it, or did and is still remembered.
    #[error(
        "image {image} is kept for session {by}; `axocoatl session rm {by}` ends and forgets that, then remove it"
    )]
    Pinned {
        /// Which one.
        image: String,
        /// What the pin is called: a session's id.
        by: String,
    },
    /// Another process holds the store.
    #[error("another process has been {doing} for {seconds} s; wait for it, or end it if it hangs")]
    Busy {
        /// What it is doing.
        doing: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The host failed.
    #[error("{doing} {}; {}", path.display(), advice(source))]
    Io {
        /// What we were doing.
        doing: String,
        /// With which file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

/// Longest text of an error that may repeat what a stranger wrote, in characters.
const MAX_QUOTED: usize = 300;

/// An error of a parser, as the cause of another. It may repeat a text of megabytes.
pub(crate) fn quoting(error: impl std::error::Error + Send + Sync + 'static) -> BoxError {
    let text = error.to_string();
    match text.char_indices().nth(MAX_QUOTED) {
        None => error.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}

/// Where a text is not what it should be. A parser's own error repeats some of it, which may be any file
/// that somebody took for an image.
pub(crate) fn misread(error: &serde_json::Error) -> BoxError {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Syntax | Category::Io => "it is no JSON",
        Category::Eof => "it ends too early",
        Category::Data => "it has another form",
    };
    let (line, column) = (error.line(), error.column());
    format!("{what} at line {line}, column {column}").into()
}

/// What to do about an error of the host.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space (the store's own garbage collection may help) and try again"
        }
        io::ErrorKind::PermissionDenied => "check the owner and the permissions of this path",
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::ReadOnlyFilesystem => "put the store on a writable file system",
        io::ErrorKind::Unsupported => "this needs Linux 5.6 or newer",
        _ => "check the disk and the system's log, and try again",
    }
}

impl ImageError {
    /// For `map_err`: the host failed while `doing` something with `path`.
    pub(crate) fn io<E: Into<io::Error>>(doing: &str, path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Io {
            doing: doing.to_owned(),
            path: path.to_owned(),
            source: error.into(),
        }
    }

    pub(crate) fn malformed(what: &str, problem: &str, fix: &str) -> Self {
        Self::Malformed {
            what: what.to_owned(),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
            source: None,
        }
    }

    /// A task of our own ended without an answer: it panicked, or the runtime is shutting down.
    pub(crate) fn lost(error: tokio::task::JoinError) -> Self {
        Self::Malformed {
            what: "a worker of the image store".to_owned(),
            problem: "it ended early".to_owned(),
            fix: "try again; if it happens again, report it".to_owned(),
            source: Some(Box::new(error)),
        }
    }
}
