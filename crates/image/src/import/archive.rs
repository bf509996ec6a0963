//! The files of an archive: of a directory, or of a tar whose entries lie in staging under
//! numbers, so that their names lead nowhere.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use tar::EntryType;

use crate::bounds::MAX_TAR_HEADER_BYTES;
use crate::layer::{Allowance, decompress};
use crate::operation::Operation;
use crate::{ImageError, Step, blobs, disk};

pub(super) const OCI_LAYOUT: &str = "oci-layout";
pub(super) const DOCKER_MANIFEST: &str = "manifest.json";

/// Entries of an archive: layers, their metadata, and room.
const MAX_ARCHIVE_ENTRIES: usize = 100_000;

/// Links from link to link in an archive: `docker save` used one.
const MAX_LINKS: usize = 8;

/// What a tar holds.
pub(super) enum Kind {
    OciLayout,
    Docker,
    Rootfs,
}

/// Files by name.
pub(super) enum Archive {
    Directory {
        root: OwnedFd,
        path: PathBuf,
    },
    Tar {
        files: HashMap<String, Entry>,
        path: PathBuf,
    },
}

pub(super) enum Entry {
    File(PathBuf),
    Link(String),
}

impl Archive {
    pub(super) fn directory(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, path, flags, Mode::empty()).map_err(ImageError::io("opening", path))?;
        Ok(Self::Directory {
            root,
            path: path.to_owned(),
        })
    }

    /// Looks into a tar. What is neither an image archive is a root file system.
    pub(super) fn kind(path: &Path, limit: u64) -> Result<Kind, ImageError> {
        let mut docker = false;
        let mut oci = false;
        let found = each(path, limit, |name, _| {
            oci |= name == OCI_LAYOUT;
            docker |= name == DOCKER_MANIFEST;
            // Both are in what newer versions of Docker write.
            Ok(!oci)
        });
        found?;
        Ok(match (oci, docker) {
            (true, _) => Kind::OciLayout,
            (false, true) => Kind::Docker,
            (false, false) => Kind::Rootfs,
        })
    }

    /// Keeps the files of a tar in staging.
    pub(super) fn tar(
        path: &Path,
        operation: &Operation,
        limit: u64,
        step: &dyn Step,
    ) -> Result<Self, ImageError> {
        let mut files = HashMap::new();
        each(path, limit, |name, entry| {
            if files.len() >= MAX_ARCHIVE_ENTRIES {
                return Err(ImageError::TooLarge {
                    what: path.display().to_string(),
                    limit: MAX_ARCHIVE_ENTRIES as u64,
                    unit: "entries",
                    fix: "check whether it is an archive of an image".to_owned(),
                });
            }
            let kept = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let kept = operation.scratch("entry");
                    let mut file = disk::create(&kept)?;
                    let size = std::io::copy(entry, &mut file)
                        .map_err(ImageError::io("copying to staging from", path))?;
                    step.advance(size);
                    Entry::File(kept)
                }
                EntryType::Symlink => Entry::Link(beside(&name, &link(entry))),
                EntryType::Link => Entry::Link(plain_name(&link(entry))),
                _ => return Ok(true),
            };
            files.insert(name, kept);
            Ok(true)
        })?;
        Ok(Self::Tar {
            files,
            path: path.to_owned(),
        })
    }

    /// Opens a file of it. `None`: there is none of this name.
    pub(super) fn open(&self, name: &str) -> Result<Option<File>, ImageError> {
        match self {
            Self::Directory { root, path } => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match openat2(root, name, flags, Mode::empty(), resolve) {
                    Ok(file) => Ok(Some(File::from(file))),
                    Err(rustix::io::Errno::NOENT) => Ok(None),
                    Err(error) => Err(ImageError::io("opening", &path.join(name))(error)),
                }
            }
            Self::Tar { files, path } => {
                let mut name = name;
                for _ in 0..MAX_LINKS {
                    match files.get(name) {
                        None => return Ok(None),
                        Some(Entry::Link(target)) => name = target,
                        Some(Entry::File(kept)) => {
                            let file = File::open(kept).map_err(ImageError::io("opening", kept))?;
                            return Ok(Some(file));
                        }
                    }
                }
                Err(ImageError::malformed(
                    &path.display().to_string(),
                    "links in circles",
                    "make the archive anew",
                ))
            }
        }
    }

    /// Reads a small file of it.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(file) = self.open(name)? else {
            return Ok(None);
        };
        let path = self.path().join(name);
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("reading", &path))?;
        if bytes.len() as u64 > limit {
            return Err(blobs::too_large(&path, limit));
        }
        Ok(Some(bytes))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. } | Self::Tar { path, .. } => path,
        }
    }
}

/// Calls `with` for each entry of a tar, compressed or not, until it says `false`.
fn each(
    path: &Path,
    limit: u64,
    mut with: impl FnMut(String, &mut dyn TarEntry) -> Result<bool, ImageError>,
) -> Result<(), ImageError> {
    let file = File::open(path).map_err(ImageError::io("opening", path))?;
    let broken = |source: std::io::Error| ImageError::Malformed {
        what: path.display().to_string(),
        problem: "it is no whole tar, gzip or zstd".to_owned(),
        fix: "get the file anew, or give a tar".to_owned(),
        source: Some(source.into()),
    };
    let reader = decompress(BufReader::with_capacity(128 << 10, file)).map_err(broken)?;
    let total = Allowance::new(limit);
    let part = Allowance::new(MAX_TAR_HEADER_BYTES);
    let bounded = Bounded {
        reader,
        total: std::rc::Rc::clone(&total),
        part: std::rc::Rc::clone(&part),
    };
    let problem = |source: std::io::Error| {
        if total.is_exhausted() {
            blobs::too_large(path, limit)
        } else if part.is_exhausted() {
            ImageError::malformed(
                &path.display().to_string(),
                "headers that pass 1 MiB",
                "make it anew",
            )
        } else {
            broken(source)
        }
    };
    let mut archive = tar::Archive::new(bounded);
    let mut entries = archive.entries().map_err(&problem)?;
    let mut any = false;
    loop {
        part.set(MAX_TAR_HEADER_BYTES);
        let Some(entry) = entries.next() else {
            break;
        };
        part.set(u64::MAX);
        let mut entry = entry.map_err(&problem)?;
        any = true;
        let name = plain_name(&String::from_utf8_lossy(&entry.path_bytes()));
        if !with(name, &mut entry)? {
            return Ok(());
        }
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(&problem)?;
    }
    if any {
        Ok(())
    } else {
        Err(broken(std::io::ErrorKind::UnexpectedEof.into()))
    }
}

/// An entry, whatever it is read from.
trait TarEntry: Read {
    fn header(&self) -> &tar::Header;
    fn link(&self) -> String;
}

impl<R: Read> TarEntry for tar::Entry<'_, R> {
    fn header(&self) -> &tar::Header {
        tar::Entry::header(self)
    }

    fn link(&self) -> String {
        self.link_name_bytes()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

fn link(entry: &dyn TarEntry) -> String {
    entry.link()
}

struct Bounded<'a> {
    reader: Box<dyn Read + 'a>,
    total: std::rc::Rc<Allowance>,
    part: std::rc::Rc<Allowance>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.part.take(count as u64)?;
        self.total.take(count as u64)?;
        Ok(count)
    }
}

/// A name without `.`, empty parts, and what `..` takes back. Only a key: no path is made of it.
fn plain_name(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a symlink in an archive leads.
fn beside(name: &str, target: &str) -> String {
    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
    plain_name(&format!("{parent}/{target}"))
}
