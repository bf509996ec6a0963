//! WASI p1, with the guard before every function that changes files.
//!
//! The functions here stand in front of those of `wasmtime-wasi` of the same name: they ask the
//! guard and then call them. Signatures and numbers are those of wasi_snapshot_preview1.witx.

use wasmtime::{Caller, Extern, Linker};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::types::{Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as wasi, WasiSnapshotPreview1 as _};
use wiggle::{GuestMemory, GuestPtr};

use super::CallState;
use super::guard::{Guard, Opening, Refusal, Zone};

/// The module that p1 programs import.
pub(crate) const P1_MODULE: &str = "wasi_snapshot_preview1";

/// First number of a preopened directory, after the standard streams.
const FIRST_PREOPEN: u32 = 3;

/// `oflags`: make the file if it is not there; cut it to nothing.
const OFLAGS_CREAT: i32 = 1 << 0;
const OFLAGS_TRUNC: i32 = 1 << 3;
/// `rights`: write to the file.
const RIGHTS_FD_WRITE: i64 = 1 << 6;

/// Gives modules WASI p1; what opens and changes files is guarded in programs that have any.
pub(crate) fn add_to(linker: &mut Linker<CallState>, has_files: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p1::add_to_linker_async(linker, |state| &mut state.wasi)?;
    linker.allow_shadowing(true);
    // The contract keeps every status; wasmtime-wasi traps from 126 on.
    linker.func_wrap(
        P1_MODULE,
        "proc_exit",
        |status: i32| -> wasmtime::Result<()> { Err(I32Exit(status).into()) },
    )?;
    add_vectors(linker)?;
    if has_files {
        add_opening(linker)?;
        add_changing(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Notes the preopened directories, which WASI numbers in the order they were given.
pub(super) fn note_preopens(guard: &mut Guard, mounts: usize) {
    for (descriptor, zone) in (FIRST_PREOPEN..).zip(Zone::preopened(mounts)) {
        guard.preopen(descriptor, zone);
    }
}

fn add_opening(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        P1_MODULE,
        "path_open",
        |mut caller: Caller<'_, CallState>,
         (directory, lookup, path, length, oflags, rights, inherited, fdflags, opened): (
            i32,
            i32,
            i32,
            i32,
            i32,
            i64,
            i64,
            i32,
            i32,
        )| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                let name = text(&memory, path, length)?;
                let how = Opening {
                    create: oflags & OFLAGS_CREAT != 0,
                    write: oflags & OFLAGS_TRUNC != 0 || rights & RIGHTS_FD_WRITE != 0,
                };
                if let Err(refusal) = state.guard()?.may_open(number(directory), &name, how) {
                    return Ok(errno(refusal));
                }
                if is_special(state, &mut memory, directory, lookup, path, length).await {
                    return Ok(errno(Refusal::NotPermitted));
                }
                let result = wasi::path_open(
                    &mut state.wasi,
                    &mut memory,
                    directory,
                    lookup,
                    path,
                    length,
                    oflags,
                    rights,
                    inherited,
                    fdflags,
                    opened,
                )
                .await?;
                if result == 0 {
                    let opened = memory.read(GuestPtr::<u32>::new(number(opened)))?;
                    state.guard()?.opened(number(directory), opened);
                }
                Ok(result)
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "fd_close",
        |mut caller: Caller<'_, CallState>, (fd,): (i32,)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                let result = wasi::fd_close(&mut state.wasi, &mut memory, fd).await?;
                if result == 0 {
                    state.guard()?.closed(number(fd));
                }
                Ok(result)
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "fd_renumber",
        |mut caller: Caller<'_, CallState>, (from, to): (i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                let result = wasi::fd_renumber(&mut state.wasi, &mut memory, from, to).await?;
                if result == 0 && from != to {
                    state.guard()?.renumbered(number(from), number(to));
                }
                Ok(result)
            })
        },
    )?;
    Ok(())
}

/// Whether the path, which lies in a mount, is a FIFO, a socket or a device: opening one could
/// hold a thread of the host for ever. Scratch has none, as nothing can make one.
async fn is_special(
    state: &mut CallState,
    memory: &mut GuestMemory<'_>,
    directory: i32,
    lookup: i32,
    path: i32,
    length: i32,
) -> bool {
    let in_mount = state
        .guard()
        .is_ok_and(|guard| matches!(guard.zone(number(directory)), Some(Zone::Mount(_))));
    if !in_mount {
        return false;
    }
    let Ok(flags) = Lookupflags::try_from(lookup) else {
        return false;
    };
    let path = GuestPtr::<str>::new((number(path), number(length)));
    let stat = state
        .wasi
        .path_filestat_get(memory, Fd::from(number(directory)), flags, path)
        .await;
    // What cannot be examined cannot be opened either; WASI says why.
    stat.is_ok_and(|stat| {
        !matches!(
            stat.filetype,
            Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink
        )
    })
}

/// Most parts of one read or write: IOV_MAX of Linux. wasmtime-wasi looks at each in one go, while
/// nothing can stop the tool.
const MAX_VECTORS: u32 = 1024;

/// Reading and writing, for every program: the parts are counted, and what goes to files is judged.
fn add_vectors(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        P1_MODULE,
        "fd_read",
        |mut caller: Caller<'_, CallState>, (fd, vectors, count, read): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if number(count) > MAX_VECTORS {
                    return Ok(INVAL);
                }
                wasi::fd_read(&mut state.wasi, &mut memory, fd, vectors, count, read).await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "fd_pread",
        |mut caller: Caller<'_, CallState>,
         (fd, vectors, count, offset, read): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if number(count) > MAX_VECTORS {
                    return Ok(INVAL);
                }
                wasi::fd_pread(
                    &mut state.wasi,
                    &mut memory,
                    fd,
                    vectors,
                    count,
                    offset,
                    read,
                )
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "fd_write",
        |mut caller: Caller<'_, CallState>, (fd, vectors, count, written): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if let Some(errno) = judge_write(state, &memory, fd, vectors, count)? {
                    return Ok(errno);
                }
                wasi::fd_write(&mut state.wasi, &mut memory, fd, vectors, count, written).await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "fd_pwrite",
        |mut caller: Caller<'_, CallState>,
         (fd, vectors, count, offset, written): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if let Some(errno) = judge_write(state, &memory, fd, vectors, count)? {
                    return Ok(errno);
                }
                wasi::fd_pwrite(
                    &mut state.wasi,
                    &mut memory,
                    fd,
                    vectors,
                    count,
                    offset,
                    written,
                )
                .await
            })
        },
    )?;
    Ok(())
}

/// Why a write is refused, if it is. A program without files has standard streams only.
fn judge_write(
    state: &CallState,
    memory: &GuestMemory<'_>,
    fd: i32,
    vectors: i32,
    count: i32,
) -> wasmtime::Result<Option<i32>> {
    if number(count) > MAX_VECTORS {
        return Ok(Some(INVAL));
    }
    let Some(guard) = &state.guard else {
        return Ok(None);
    };
    let bytes = first_length(memory, vectors, count)?;
    Ok(guard.may_write(number(fd), bytes).err().map(errno))
}

fn add_changing(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        P1_MODULE,
        "path_create_directory",
        |mut caller: Caller<'_, CallState>, (directory, path, length): (i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if let Err(refusal) = state.guard()?.may_make_directory(number(directory)) {
                    return Ok(errno(refusal));
                }
                wasi::path_create_directory(&mut state.wasi, &mut memory, directory, path, length)
                    .await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "path_symlink",
        |mut caller: Caller<'_, CallState>,
         (target, target_length, directory, path, length): (i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if let Err(refusal) = state.guard()?.may_symlink(number(directory)) {
                    return Ok(errno(refusal));
                }
                wasi::path_symlink(
                    &mut state.wasi,
                    &mut memory,
                    target,
                    target_length,
                    directory,
                    path,
                    length,
                )
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "path_link",
        |mut caller: Caller<'_, CallState>,
         (from, lookup, old, old_length, to, new, new_length): (
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
        )| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                if let Err(refusal) = state.guard()?.may_link(number(from), number(to)) {
                    return Ok(errno(refusal));
                }
                wasi::path_link(
                    &mut state.wasi,
                    &mut memory,
                    from,
                    lookup,
                    old,
                    old_length,
                    to,
                    new,
                    new_length,
                )
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "path_rename",
        |mut caller: Caller<'_, CallState>,
         (from, old, old_length, to, new, new_length): (i32, i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                let (old_name, new_name) = (
                    text(&memory, old, old_length)?,
                    text(&memory, new, new_length)?,
                );
                let judged =
                    state
                        .guard()?
                        .may_rename(number(from), &old_name, number(to), &new_name);
                if let Err(refusal) = judged {
                    return Ok(errno(refusal));
                }
                wasi::path_rename(
                    &mut state.wasi,
                    &mut memory,
                    from,
                    old,
                    old_length,
                    to,
                    new,
                    new_length,
                )
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        P1_MODULE,
        "path_unlink_file",
        |mut caller: Caller<'_, CallState>, (directory, path, length): (i32, i32, i32)| {
            Box::new(async move {
                let (mut memory, state) = split(&mut caller)?;
                let name = text(&memory, path, length)?;
                if let Err(refusal) = state.guard()?.may_unlink(number(directory), &name) {
                    return Ok(errno(refusal));
                }
                wasi::path_unlink_file(&mut state.wasi, &mut memory, directory, path, length).await
            })
        },
    )?;
    Ok(())
}

/// The program's memory and the call's state, side by side, as every p1 function needs them.
fn split<'a>(
    caller: &'a mut Caller<'_, CallState>,
) -> wasmtime::Result<(GuestMemory<'a>, &'a mut CallState)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(wasmtime::Error::msg(
            "the program exports no memory, which WASI p1 needs",
        ));
    };
    let fuel = wasmtime::AsContextMut::as_context_mut(caller).hostcall_fuel();
    let (bytes, state) = memory.data_and_store_mut(caller);
    state.wasi.set_hostcall_fuel(fuel);
    Ok((GuestMemory::Unshared(bytes), state))
}

/// Longest path that is looked at, in bytes; Linux's PATH_MAX.
const MAX_PATH: u32 = 4096;

/// A path in the program's memory.
fn text(memory: &GuestMemory<'_>, pointer: i32, length: i32) -> wasmtime::Result<String> {
    if number(length) > MAX_PATH {
        // WASI refuses it by itself; as far as we are concerned it names nothing of ours.
        return Ok("/".to_owned());
    }
    let text = memory.as_cow_str(GuestPtr::<str>::new((number(pointer), number(length))))?;
    Ok(text.into_owned())
}

/// Length of the first part that is not empty, which is all that wasmtime-wasi writes at once.
fn first_length(memory: &GuestMemory<'_>, vectors: i32, count: i32) -> wasmtime::Result<u64> {
    /// Size of a `ciovec`: pointer, then length, each of 4 bytes.
    const VECTOR: u32 = 8;
    for index in 0..number(count) {
        let at = index
            .checked_mul(VECTOR)
            .and_then(|at| at.checked_add(number(vectors))?.checked_add(4));
        let Some(at) = at else { return Ok(0) };
        let length = memory.read(GuestPtr::<u32>::new(at))?;
        if length > 0 {
            return Ok(length.into());
        }
    }
    Ok(0)
}

/// WASI's numbers are unsigned; WebAssembly's integers have no sign.
fn number(raw: i32) -> u32 {
    raw.cast_unsigned()
}

/// `errno` for an argument that cannot be.
const INVAL: i32 = 28;

fn errno(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::TooManyFiles => 33,
        Refusal::NoSpace => 51,
        Refusal::NotPermitted => 63,
        Refusal::ReadOnly => 69,
        Refusal::CrossZone => 75,
    }
}
