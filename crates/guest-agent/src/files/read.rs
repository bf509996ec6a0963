//! Reading a file.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use axo_guest_proto::files::{FileKind, Place, Read, Stat};
use axo_guest_proto::{Code, Failure, Kind, Reply};
use rustix::fs::{Mode, OFlags};

use super::beneath::{Root, root_of};
use super::{at_place, in_thread, stat};
use crate::client::{Broken, Reader, Writer, put_header, with_client};

/// Bytes of one frame.
const CHUNK: usize = 128 << 10;

pub(crate) async fn read(
    read: Read,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    tokio::select! {
        biased;
        done = send(read, writer) => done,
        broken = reader.closed() => Err(broken),
    }
}

async fn send(read: Read, writer: &mut Writer) -> Result<(), Broken> {
    let mut offset = read.offset;
    let end = offset.saturating_add(read.length.unwrap_or(u64::MAX));
    let place = read.place.clone();
    let (mut file, stat) = in_thread(move || open(&read)).await??;
    writer.put(&Reply::Stat(stat));
    loop {
        let most = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = std::mem::take(writer.buffer());
        let place = place.clone();
        let (back, frames, bytes) = in_thread(move || {
            put_chunk(&file, offset, most, &mut buffer)
                .map(|bytes| (file, buffer, bytes))
                .map_err(|e| at_place("reading", &place)(errno(&e)))
        })
        .await??;
        file = back;
        *writer.buffer() = frames;
        offset += bytes as u64;
        if bytes < most || offset == end {
            writer.put(&Reply::Done);
            return with_client(writer.flush()).await;
        }
        with_client(writer.flush()).await?;
    }
}

fn open(read: &Read) -> Result<(File, Stat), Failure> {
    let failed = at_place("opening", &read.place);
    let root = root_of(&read.place).map_err(&failed)?;
    regular(&root, &read.place, OFlags::RDONLY, read.no_follow).map_err(|e| match e {
        NotOpened::Kernel(e) => failed(e),
        NotOpened::NotFile => not_file(&read.place),
    })
}

/// Why a regular file was not opened.
pub(super) enum NotOpened {
    Kernel(rustix::io::Errno),
    NotFile,
}

impl From<rustix::io::Errno> for NotOpened {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Kernel(e)
    }
}

/// Opens a regular file that is there. Looks first, since opening a device can do something, and
/// afterwards, since it may be another by then.
pub(super) fn regular(
    root: &Root,
    place: &Place,
    mut flags: OFlags,
    no_follow: bool,
) -> Result<(File, Stat), NotOpened> {
    is_regular(&root.look(&place.path, no_follow)?)?;
    flags.set(OFlags::NOFOLLOW, no_follow);
    let file = root.resolve(&place.path, flags, Mode::empty())?;
    let stat = is_regular(&file)?;
    Ok((file.into(), stat))
}

fn is_regular(file: &OwnedFd) -> Result<Stat, NotOpened> {
    let stat = stat::of(file)?;
    if stat.kind == FileKind::File {
        Ok(stat)
    } else {
        Err(NotOpened::NotFile)
    }
}

pub(super) fn not_file(place: &Place) -> Failure {
    let path = String::from_utf8_lossy(&place.path);
    Failure::new(
        Code::NotFile,
        None,
        format!("{path:?} is not a regular file"),
    )
}

/// Appends a frame of what the file has there.
fn put_chunk(
    file: &File,
    offset: u64,
    most: usize,
    buffer: &mut Vec<u8>,
) -> std::io::Result<usize> {
    let frame = buffer.len();
    put_header(buffer, Kind::Output, 0);
    let payload = buffer.len();
    buffer.resize(payload + most, 0);
    let mut bytes = 0;
    while bytes < most {
        match file.read_at(&mut buffer[payload + bytes..], offset + bytes as u64) {
            Ok(0) => break,
            Ok(more) => bytes += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(payload + bytes);
    if bytes == 0 {
        buffer.truncate(frame);
    } else {
        let mut header = Vec::new();
        put_header(&mut header, Kind::Output, bytes);
        buffer[frame..payload].copy_from_slice(&header);
    }
    Ok(bytes)
}

pub(super) fn errno(e: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(e).unwrap_or(rustix::io::Errno::IO)
}
