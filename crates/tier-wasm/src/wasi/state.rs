//! The state of one call that host functions work on.

use axo_core::{MountMode, PlacedCall};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiCtxView, WasiView};

use super::guard::Guard;
use super::p1;
use crate::code::CodeKind;
use crate::invoke::InvokeError;
use crate::limits::Limiter;
use crate::output::CappedOutput;
use crate::scratch::Scratch;

/// What a tool writes.
pub(crate) struct Streams {
    pub(crate) stdout: CappedOutput,
    pub(crate) stderr: CappedOutput,
}

/// The state of one call.
pub(crate) struct CallState {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limiter: Limiter,
    /// Of a call that has files.
    pub(super) guard: Option<Guard>,
}

/// Resources of WASI that a program may hold beyond its files: streams, pollables, preopens.
const OTHER_RESOURCES: usize = 128;

/// Most bytes of randomness a tool gets in one request; more traps. The host allocates them.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

impl CallState {
    /// A context that holds the call's input, environment and mounts, and nothing else. It has no
    /// network: every address is refused, which is what the builder starts with.
    pub(crate) fn new(
        code: CodeKind,
        call: &PlacedCall,
        scratch: Option<&Scratch>,
        streams: &Streams,
        limiter: Limiter,
    ) -> Result<Self, InvokeError> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.arg(call.spec().name.as_str())
            .stdin(MemoryInputPipe::new(Bytes::from_owner(InputText(
                Arc::clone(call.input().text()),
            ))))
            .stdout(streams.stdout.clone())
            .stderr(streams.stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES);
        for (name, value) in call.environment() {
            wasi.env(name, value);
        }
        if let Some(scratch) = scratch {
            let mut preopen = |path, target| {
                wasi.preopened_dir(path, target, FsPerms::ReadWrite)
                    .map(|_| ())
                    .map_err(|e| InvokeError::Start(e.into()))
            };
            preopen(scratch.exchange(), "/axocoatl")?;
            preopen(scratch.temporary(), "/tmp")?;
            for mount in call.mounts() {
                open_mount(&mut wasi, mount).map_err(|source| InvokeError::Mount {
                    mount: mount.to_string(),
                    source,
                })?;
            }
        }
        let mut wasi = wasi.build_p1();
        let limits = call.limits();
        // Streams keep their file open after its descriptor is closed, so they are bounded too.
        wasi.ctx()
            .table
            .set_max_capacity((limits.files as usize).saturating_add(OTHER_RESOURCES));
        let guard = match scratch {
            Some(scratch) => {
                let guard = Guard::new(scratch, limits.disk.bytes(), limits.files);
                let mut guard = guard.map_err(|e| InvokeError::Start(e.into()))?;
                // A component asks for its directories, and they are noted then.
                if code == CodeKind::Module {
                    p1::note_preopens(&mut guard, call.mounts().len());
                }
                Some(guard)
            }
            None => None,
        };
        Ok(Self {
            wasi,
            limiter,
            guard,
        })
    }

    /// The guard of a program that can open files; it always has one.
    pub(super) fn guard(&mut self) -> wasmtime::Result<&mut Guard> {
        self.guard
            .as_mut()
            .ok_or_else(|| wasmtime::Error::msg("a program with files has no guard"))
    }
}

/// Opens the source without following a link anywhere on its path, and gives WASI that very
/// directory: the policy judged this path, so nothing may lead from it to another.
fn open_mount(
    wasi: &mut WasiCtxBuilder,
    mount: &axo_core::Mount,
) -> Result<(), axo_core::BoxError> {
    let perms = match mount.mode {
        MountMode::ReadOnly => FsPerms::ReadOnly,
        MountMode::ReadWrite => FsPerms::ReadWrite,
    };
    let directory = open_without_links(&mount.source)?;
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    wasi.preopened_dir(path, &mount.target, perms)?;
    Ok(())
}

fn open_without_links(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
}

/// Shares the input's text with the stream that reads it.
struct InputText(Arc<str>);

impl AsRef<[u8]> for InputText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}
