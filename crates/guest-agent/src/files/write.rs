//! Writing a file.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use axo_guest_proto::files::{FileKind, How, Owner, Write};
use axo_guest_proto::{Failure, Kind, Reply};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use super::beneath::{Root, fresh_name, give, root_of};
use super::read::{NotOpened, errno, not_file, regular};
use super::{at_place, in_thread, stat};
use crate::client::{Broken, Reader, Writer, invalid, with_client};

/// Mode of a new file, if the client says none.
const MODE: u32 = 0o644;

/// Mode of the directories that are made for it.
const PARENT_MODE: u32 = 0o755;

pub(crate) async fn write(
    write: Write,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let place = write.place.clone();
    let failed = move |doing| at_place(doing, &place);
    let mut target = in_thread(move || Target::open(&write)).await??;
    let mut written = 0;
    loop {
        let (kind, payload) = with_client(reader.next()).await?;
        if kind != Kind::Input {
            return Err(invalid("only input belongs into a file").into());
        }
        if payload.is_empty() {
            break;
        }
        let bytes = std::mem::take(payload);
        written += bytes.len() as u64;
        let (back, bytes, result) = in_thread(move || {
            let result = target.write(&bytes);
            (target, bytes, result)
        })
        .await?;
        target = back;
        reader.give_back(bytes);
        result.map_err(failed("writing"))?;
    }
    let finished = in_thread(move || target.finish()).await?;
    finished.map_err(failed("writing"))?;
    Ok(writer.send(&Reply::Written { bytes: written }).await?)
}

/// A file that is being written.
struct Target {
    file: File,
    /// Where the next bytes go; none is the end.
    at: Option<u64>,
    fresh: Option<Fresh>,
}

/// A new file by another name, which is removed with this.
struct Fresh {
    parent: OwnedFd,
    name: CString,
    /// The name that it gets.
    becomes: CString,
    replace: bool,
    mode: Mode,
}

impl Target {
    fn open(write: &Write) -> Result<Self, Failure> {
        let opened = root_of(&write.place)
            .map_err(NotOpened::Kernel)
            .and_then(|root| match write.how {
                How::CreateNew => Ok(Self::fresh(&root, write, false)?),
                How::Replace => Ok(Self::fresh(&root, write, true)?),
                How::Append => Self::there(&root, write, None),
                How::At(offset) => Self::there(&root, write, Some(offset)),
            });
        opened.map_err(|e| match e {
            NotOpened::Kernel(e) => at_place("writing", &write.place)(e),
            NotOpened::NotFile => not_file(&write.place),
        })
    }

    fn fresh(root: &Root, write: &Write, replace: bool) -> Result<Self, Errno> {
        let (parent, becomes) = parent_of(root, write)?;
        let there = stat::of_entry(&parent, &becomes);
        let (mode, owner) = match there {
            Ok(_) if !replace => return Err(Errno::EXIST),
            Ok(there) if there.kind == FileKind::Directory => return Err(Errno::ISDIR),
            Ok(there) if there.kind == FileKind::File => {
                let Owner { uid, gid } = Owner {
                    uid: there.uid,
                    gid: there.gid,
                };
                (there.mode, Some(Owner { uid, gid }))
            }
            Ok(_) | Err(Errno::NOENT) => (MODE, None),
            Err(e) => return Err(e),
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = fresh_name();
        let file = openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let fresh = Fresh {
            parent,
            name,
            becomes,
            replace,
            mode: Mode::from_raw_mode(write.mode.unwrap_or(mode)),
        };
        match write.owner {
            Some(owner) => give(&file, Some(owner))?,
            // An agent that may not give files away leaves it its own.
            None => drop(give(&file, owner)),
        }
        Ok(Self {
            file: file.into(),
            at: Some(0),
            fresh: Some(fresh),
        })
    }

    /// One that is there, or a new one in its place.
    fn there(root: &Root, write: &Write, at: Option<u64>) -> Result<Self, NotOpened> {
        let mut flags = OFlags::WRONLY;
        flags.set(OFlags::APPEND, at.is_none());
        let file = match regular(root, &write.place, flags, write.no_follow) {
            Err(NotOpened::Kernel(Errno::NOENT)) => {
                let (parent, name) = parent_of(root, write)?;
                let create =
                    flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&parent, &name, create, Mode::RUSR | Mode::WUSR)?;
                give(&file, write.owner)?;
                fchmod(&file, Mode::from_raw_mode(write.mode.unwrap_or(MODE)))?;
                file.into()
            }
            opened => opened?.0,
        };
        Ok(Self {
            file,
            at,
            fresh: None,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let written = match &mut self.at {
            Some(at) => {
                let here = *at;
                *at += bytes.len() as u64;
                self.file.write_all_at(bytes, here)
            }
            None => std::io::Write::write_all(&mut self.file, bytes),
        };
        written.map_err(|e| errno(&e))
    }

    fn finish(mut self) -> Result<(), Errno> {
        match self.fresh.take() {
            Some(fresh) => fresh.finish(&self.file),
            None => Ok(()),
        }
    }
}

fn parent_of(root: &Root, write: &Write) -> Result<(OwnedFd, CString), Errno> {
    if write.make_parents {
        let mode = Mode::from_raw_mode(PARENT_MODE);
        root.made_parent(&write.place.path, mode, write.owner)
    } else {
        root.parent(&write.place.path)
    }
}

impl Fresh {
    fn finish(self, file: &File) -> Result<(), Errno> {
        // Last, as writing and giving away clear set-user-ID bits.
        fchmod(file, self.mode)?;
        let parent = self.parent.as_fd();
        if self.replace {
            return renameat(parent, &self.name, parent, &self.becomes);
        }
        match renameat_with(
            parent,
            &self.name,
            parent,
            &self.becomes,
            RenameFlags::NOREPLACE,
        ) {
            // A file system that cannot: a link does not replace either.
            Err(Errno::INVAL) => {
                rustix::fs::linkat(parent, &self.name, parent, &self.becomes, AtFlags::empty())
            }
            result => result,
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = unlinkat(&self.parent, &self.name, AtFlags::empty());
    }
}
