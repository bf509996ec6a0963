//! WASI p2, with the guard before every function of `wasi:filesystem` that changes files.
//!
//! [`GuardedFiles`] implements the two interfaces by asking the guard and handing the call to
//! `wasmtime-wasi`; most of its functions only hand it on.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError,
    StreamResult,
};
use wasmtime_wasi::{WasiCtxView, WasiView as _};

use super::CallState;
use super::guard::{Guard, Opening, Refusal, Zone};
use super::quota::Quota;

/// Gives components WASI p2, guarded.
pub(crate) fn add_to(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    preopens::add_to_linker::<CallState, Guarded>(linker, CallState::guarded_files)?;
    types::add_to_linker::<CallState, Guarded>(linker, CallState::guarded_files)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The guarded view of a call's files, for the linker.
struct Guarded;

impl HasData for Guarded {
    type Data<'a> = GuardedFiles<'a>;
}

/// The files of a call, and their guard. Without a guard there are no directories, so nothing that
/// a guard would have to refuse can be reached.
struct GuardedFiles<'a> {
    files: WasiFilesystemCtxView<'a>,
    guard: Option<&'a mut Guard>,
}

impl CallState {
    fn guarded_files(&mut self) -> GuardedFiles<'_> {
        let Self { wasi, guard, .. } = self;
        let WasiCtxView { ctx, table } = wasi.ctx();
        GuardedFiles {
            files: WasiFilesystemCtxView {
                ctx: ctx.filesystem(),
                table,
            },
            guard: guard.as_mut(),
        }
    }
}

impl GuardedFiles<'_> {
    fn ask(&self, question: impl FnOnce(&Guard) -> Result<(), Refusal>) -> FsResult<()> {
        match &self.guard {
            Some(guard) => question(guard).map_err(|refusal| error_code(refusal).into()),
            None => Err(ErrorCode::NotPermitted.into()),
        }
    }

    fn zone(&self, descriptor: u32) -> Option<Zone> {
        self.guard.as_ref()?.zone(descriptor)
    }

    /// Wraps a stream into a file of the scratch, so that what it writes is counted.
    fn counted(
        &mut self,
        stream: Resource<DynOutputStream>,
        zone: Option<Zone>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let Some(guard) = &self.guard else {
            return Ok(stream);
        };
        if matches!(zone, Some(Zone::Mount(_)) | None) {
            return Ok(stream);
        }
        let inner = self.files.table.delete(stream).map_err(FsError::trap)?;
        let counted: DynOutputStream = Box::new(CountedStream {
            inner,
            quota: guard.shared_quota(),
            pending: 0,
        });
        self.files.table.push(counted).map_err(FsError::trap)
    }
}

fn error_code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::ReadOnly => ErrorCode::ReadOnly,
        Refusal::NoSpace => ErrorCode::InsufficientSpace,
        Refusal::NotPermitted => ErrorCode::NotPermitted,
        Refusal::CrossZone => ErrorCode::CrossDevice,
        // p2 has no code for a process's own limit of descriptors.
        Refusal::TooManyFiles => ErrorCode::Quota,
    }
}

/// A stream into a file of the scratch. What it took is written in the background; until it is,
/// the quota knows that it is on its way.
struct CountedStream {
    inner: DynOutputStream,
    quota: Arc<Mutex<Quota>>,
    /// Bytes that may not have arrived yet.
    pending: u64,
}

impl CountedStream {
    fn quota(&self) -> MutexGuard<'_, Quota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything has arrived.
    fn settle(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.quota().arrived(pending);
    }
}

#[async_trait::async_trait]
impl OutputStream for CountedStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let length = bytes.len() as u64;
        if self.quota().take_pending(length).is_err() {
            let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
            return Err(StreamError::LastOperationFailed(full.into()));
        }
        self.pending = self.pending.saturating_add(length);
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let room = self.inner.check_write()?;
        // It takes more only when it has written what it had.
        if room > 0 {
            self.settle();
        }
        Ok(room)
    }

    /// Called when the stream is dropped: what it still writes ends with it.
    async fn cancel(&mut self) {
        self.inner.cancel().await;
        self.settle();
    }
}

#[async_trait::async_trait]
impl Pollable for CountedStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.settle();
    }
}

impl preopens::Host for GuardedFiles<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories = preopens::Host::get_directories(&mut self.files)?;
        if let Some(guard) = &mut self.guard {
            let mounts = directories.len().saturating_sub(2);
            for ((descriptor, _), zone) in directories.iter().zip(Zone::preopened(mounts)) {
                guard.preopen(descriptor.rep(), zone);
            }
        }
        Ok(directories)
    }
}

impl types::Host for GuardedFiles<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.files, error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.files, error)
    }
}

impl HostDirectoryEntryStream for GuardedFiles<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.files.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        if let Some(guard) = &mut self.guard {
            guard.listing_closed();
        }
        HostDirectoryEntryStream::drop(&mut self.files, stream)
    }
}

impl HostDescriptor for GuardedFiles<'_> {
    // Judged.

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let directory = fd.rep();
        let how = Opening {
            create: open_flags.contains(OpenFlags::CREATE),
            write: open_flags.contains(OpenFlags::TRUNCATE)
                || flags.contains(DescriptorFlags::WRITE),
        };
        self.ask(|guard| guard.may_open(directory, &path, how))?;
        if matches!(self.zone(directory), Some(Zone::Mount(_))) {
            // Opening a FIFO or device could hold a thread of the host for ever.
            let borrowed = Resource::new_borrow(directory);
            let stat = self.files.stat_at(borrowed, path_flags, path.clone()).await;
            let plain = [
                DescriptorType::RegularFile,
                DescriptorType::Directory,
                DescriptorType::SymbolicLink,
            ];
            if stat.is_ok_and(|stat| !plain.contains(&stat.type_)) {
                return Err(ErrorCode::NotPermitted.into());
            }
        }
        let opened = self
            .files
            .open_at(fd, path_flags, path, open_flags, flags)
            .await?;
        if let Some(guard) = &mut self.guard {
            guard.opened(directory, opened.rep());
        }
        Ok(opened)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        if let Some(guard) = &mut self.guard {
            guard.closed(fd.rep());
        }
        HostDescriptor::drop(&mut self.files, fd)
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        self.ask(|guard| guard.may_write(fd.rep(), bytes.len() as u64))?;
        self.files.write(fd, bytes, offset).await
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let zone = self.zone(fd.rep());
        let stream = self.files.write_via_stream(fd, offset)?;
        self.counted(stream, zone)
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let zone = self.zone(fd.rep());
        let stream = self.files.append_via_stream(fd)?;
        self.counted(stream, zone)
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        self.ask(|guard| guard.may_make_directory(fd.rep()))?;
        self.files.create_directory_at(fd, path).await
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        self.ask(|guard| guard.may_symlink(fd.rep()))?;
        self.files.symlink_at(fd, target, path).await
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.ask(|guard| guard.may_link(fd.rep(), to.rep()))?;
        self.files.link_at(fd, flags, old, to, new).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.ask(|guard| guard.may_rename(fd.rep(), &old, to.rep(), &new))?;
        self.files.rename_at(fd, old, to, new).await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.ask(|guard| guard.may_unlink(fd.rep(), &path))?;
        self.files.unlink_file_at(fd, path).await
    }

    // Handed on: they change no file's content, name or number.

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.files.advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.files.sync_data(fd).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.files.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.files.get_type(fd).await
    }

    /// A file made longer is sparse: it takes no space until it is written.
    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.files.set_size(fd, size).await
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.files.set_times(fd, accessed, modified).await
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.files.read(fd, length, offset).await
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        // A listing is read whole into our memory, so few may be open at once.
        self.ask(Guard::may_list)?;
        let listing = self.files.read_directory(fd).await?;
        if let Some(guard) = &mut self.guard {
            guard.listing_opened();
        }
        Ok(listing)
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.files.sync(fd).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.files.stat(fd).await
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.files.stat_at(fd, flags, path).await
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.files
            .set_times_at(fd, flags, path, accessed, modified)
            .await
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.files.readlink_at(fd, path).await
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        self.files.remove_directory_at(fd, path).await
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        self.files.read_via_stream(fd, offset)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.files.is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.files.metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.files.metadata_hash_at(fd, flags, path).await
    }
}
