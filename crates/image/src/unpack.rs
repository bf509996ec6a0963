//! Unpacking layers into a root file system.
//!
//! Every entry is a claim by a stranger. Names are never trusted to say where they lead: the
//! kernel resolves each directory beneath the root (`openat2`, `RESOLVE_IN_ROOT`), what is already
//! there is never written through but replaced, and files are made with `O_EXCL`.

mod attributes;
pub(crate) mod entry_path;
mod mount_points;
mod tree;
mod whiteout;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use tar::EntryType;

use crate::blobs::PULL_AGAIN;
use crate::bounds::MAX_TAR_HEADER_BYTES;
use crate::layer::{Allowance, Layer};
use crate::record::{Record, StoredLayer};
use crate::store::Layout;
use crate::{ImageError, Progress, Step, disk};
use attributes::Attributes;
use tree::{Problem, Tree};
pub use whiteout::{Whiteout, parse_whiteout};

const REBUILD: &str = "have the image built without it";

/// What an image may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// What is left of them.
struct Budget {
    limits: Limits,
    /// Bytes of the layers decompressed.
    stream: Rc<Allowance>,
    /// Bytes of the files: sparse ones are larger than what the layer has of them.
    content: Rc<Allowance>,
    files: u64,
}

/// Unpacks an image into `root`, which must not exist.
pub(crate) fn image(
    layout: &Layout,
    record: &Record,
    root: &Path,
    limits: Limits,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let mut tree = Tree::new(root)?;
    let mut budget = Budget {
        limits,
        stream: Allowance::new(limits.bytes),
        content: Allowance::new(limits.bytes),
        files: limits.files,
    };
    for stored in &record.layers {
        let step = progress.begin(&format!("unpacking {}", short(stored)), Some(stored.size));
        layer(layout, stored, &mut tree, &mut budget, &*step)?;
    }
    mount_points::make(&mut tree, root)?;
    // Last, because an image may make its own directories read-only.
    tree.finish().map_err(ImageError::io("unpacking to", root))
}

fn short(stored: &StoredLayer) -> String {
    stored.digest.hex().chars().take(12).collect()
}

fn layer(
    layout: &Layout,
    stored: &StoredLayer,
    tree: &mut Tree,
    budget: &mut Budget,
    step: &dyn Step,
) -> Result<(), ImageError> {
    let path = layout.blob(&stored.digest);
    let file = File::open(&path).map_err(ImageError::io("opening the layer", &path))?;
    let part = Allowance::new(MAX_TAR_HEADER_BYTES);
    let damaged = |source: std::io::Error| ImageError::Malformed {
        what: format!("layer {}", stored.digest),
        problem: "it is no whole tar, gzip or zstd".to_owned(),
        fix: "have the image built anew".to_owned(),
        source: Some(source.into()),
    };
    let mut reader =
        Layer::new(file, Rc::clone(&budget.stream), Rc::clone(&part), step).map_err(damaged)?;

    let entries = entries(&mut reader, &part, stored, tree, budget);
    let read_all = match entries {
        // A damaged blob first shows as nonsense somewhere inside; its digest says more.
        Err(Stop::Read(error)) => {
            if budget.stream.is_exhausted() {
                return Err(too_large(budget));
            }
            if part.is_exhausted() {
                return Err(refused(stored, b"", "headers that pass 1 MiB", REBUILD));
            }
            Err(error)
        }
        Err(Stop::Image(error)) => return Err(*error),
        Ok(()) => Ok(()),
    };
    let seen = reader.finish();
    if budget.stream.is_exhausted() {
        return Err(too_large(budget));
    }
    let (digest, rest) = seen;
    let digest = digest.map_err(ImageError::io("reading the layer", &path))?;
    check("layer", &stored.digest, &digest, PULL_AGAIN)?;
    read_all.map_err(damaged)?;
    let diff_id = rest.map_err(damaged)?;
    check(
        "unpacked layer",
        &stored.diff_id,
        &diff_id,
        "its configuration and its layers do not belong together: have the image built anew",
    )
}

fn check(
    what: &str,
    expected: &crate::Digest,
    actual: &crate::Digest,
    fix: &str,
) -> Result<(), ImageError> {
    if expected == actual {
        return Ok(());
    }
    Err(ImageError::Digest {
        what: format!("{what} {expected}"),
        expected: expected.to_string(),
        actual: actual.to_string(),
        fix: fix.to_owned(),
    })
}

fn too_large(budget: &Budget) -> ImageError {
    ImageError::TooLarge {
        what: "the unpacked image".to_owned(),
        limit: budget.limits.bytes,
        unit: "bytes",
        fix: "use a smaller image, or raise the store's limit".to_owned(),
    }
}

fn refused(stored: &StoredLayer, entry: &[u8], problem: &str, fix: &str) -> ImageError {
    ImageError::Entry {
        layer: stored.digest.to_string(),
        entry: disk::shown(entry),
        problem: problem.to_owned(),
        fix: fix.to_owned(),
    }
}

/// Why a layer was not unpacked to its end.
enum Stop {
    /// Its bytes make no sense.
    Read(std::io::Error),
    /// It was understood, and is refused, or the disk failed.
    Image(Box<ImageError>),
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

fn entries(
    reader: &mut Layer<'_>,
    part: &Allowance,
    stored: &StoredLayer,
    tree: &mut Tree,
    budget: &mut Budget,
) -> Result<(), Stop> {
    tree.begin_layer();
    let mut archive = tar::Archive::new(reader);
    let mut entries = archive.entries().map_err(Stop::Read)?;
    loop {
        // Long names and PAX records come before their entry, and are read into memory.
        part.set(MAX_TAR_HEADER_BYTES);
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        part.set(u64::MAX);
        let mut entry = entry.map_err(Stop::Read)?;
        budget.files = budget
            .files
            .checked_sub(1)
            .ok_or_else(|| ImageError::TooLarge {
                what: "the unpacked image".to_owned(),
                limit: budget.limits.files,
                unit: "files",
                fix: "use a smaller image, or raise the store's limit".to_owned(),
            })?;
        if budget.content.take(entry.size()).is_err() {
            return Err(too_large(budget).into());
        }
        one(&mut entry, tree).map_err(|problem| {
            let name = entry.path_bytes();
            match problem {
                Problem::Refused(problem) => refused(stored, &name, &problem, REBUILD).into(),
                Problem::Device => refused(
                    stored,
                    &name,
                    "a device node, which no tool may have",
                    "build the image without devices; an archive of a whole system, without its /dev",
                )
                .into(),
                Problem::Read(error) => Stop::Read(error),
                Problem::Host(source) => ImageError::Io {
                    doing: format!("unpacking, from layer {},", stored.digest),
                    path: disk::shown(&name).into(),
                    source,
                }
                .into(),
            }
        })?;
        // What an entry has beyond what its kind needs.
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(Stop::Read)?;
    }
}

fn one<R: Read>(entry: &mut tar::Entry<'_, R>, tree: &mut Tree) -> Result<(), Problem> {
    let kind = entry.header().entry_type();
    if matches!(kind, EntryType::XGlobalHeader) {
        return Ok(());
    }
    let path = entry_path::parse(&entry.path_bytes()).map_err(Problem::refused)?;
    let Some(name) = path.name.as_deref() else {
        return match kind {
            EntryType::Directory => Ok(tree.root_attributes(&Attributes::of(entry.header())?)?),
            _ => Err(Problem::refused(
                "the root as something else than a directory",
            )),
        };
    };
    match parse_whiteout(name.as_encoded_bytes()).map_err(Problem::refused)? {
        Whiteout::None => {}
        Whiteout::Ignore => return Ok(()),
        Whiteout::Opaque => return tree.hide_all(&path.parent),
        Whiteout::Remove(hidden) => return tree.hide(&path.parent, hidden),
    }
    match kind {
        EntryType::Directory => {
            let attributes = Attributes::of(entry.header())?;
            tree.directory(&path.parent, name, &attributes)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let attributes = Attributes::of(entry.header())?;
            tree.file(&path.parent, name, &attributes, entry)
        }
        EntryType::Symlink => {
            let attributes = Attributes::of(entry.header())?;
            let target = link_target(entry)?;
            tree.symlink(&path.parent, name, &target, &attributes)
        }
        EntryType::Link => {
            let target = entry_path::parse(&link_target(entry)?).map_err(Problem::refused)?;
            tree.hard_link(&path.parent, name, &target)
        }
        EntryType::Char | EntryType::Block => Err(Problem::Device),
        EntryType::Fifo => {
            // Nobody is at its other end here, and a reader would wait for ever.
            tracing::debug!(entry = %disk::shown(&entry.path_bytes()), "left out a FIFO");
            Ok(())
        }
        other => Err(Problem::Refused(format!(
            "an entry of the unknown kind {:?}",
            char::from(other.as_byte())
        ))),
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Vec<u8>, Problem> {
    match entry.link_name_bytes() {
        Some(target) if !target.is_empty() => Ok(target.into_owned()),
        _ => Err(Problem::refused("a link to nothing")),
    }
}
