//! From a tool to its program: read, compiled unless the cache has it, linked, and kept.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use axo_core::{Run, RunError, SpecId, ToolSpec, WasmSource};
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::cache::{Cache, CacheError, Entry, Key};
use crate::code::{self, CodeKind, MAX_CODE_BYTES};
use crate::compiler::{CompileError, Compiler};
use crate::engines::{EngineKind, Engines};
use crate::failed::{bad_tool, cache_failed, host, program_failed, unloadable};
use crate::program::Program;

/// Most compilations at once in this process: each may take the compiler's whole memory limit.
const COMPILATIONS: usize = 2;

/// A program, once it is loaded.
type ProgramCell = Arc<OnceCell<Arc<Program>>>;

/// Makes programs of tools, each once.
pub(crate) struct Loader {
    engines: Arc<Engines>,
    compiler: Compiler,
    compiling: Semaphore,
    cache_path: Option<PathBuf>,
    cache: OnceLock<Cache>,
    /// By tool, and by whether fuel is counted, which makes other code.
    programs: RwLock<HashMap<(SpecId, bool), ProgramCell>>,
}

impl Loader {
    pub(crate) fn new(
        engines: Arc<Engines>,
        compiler: Compiler,
        cache_path: Option<PathBuf>,
    ) -> Self {
        Self {
            engines,
            compiler,
            compiling: Semaphore::new(COMPILATIONS),
            cache_path,
            cache: OnceLock::new(),
            programs: RwLock::default(),
        }
    }

    /// The program of `tool`: loaded once, whoever asks first.
    pub(crate) async fn program(
        &self,
        tool: &ToolSpec,
        fuel: bool,
    ) -> Result<Arc<Program>, RunError> {
        let key = (tool.id(), fuel);
        let known = self
            .programs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let cell = known.unwrap_or_else(|| {
            let mut programs = self
                .programs
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(programs.entry(key).or_default())
        });
        cell.get_or_try_init(|| self.load(tool, fuel))
            .await
            .cloned()
    }

    /// Reads the tool's code, compiles it unless the cache has it, and links it.
    async fn load(&self, tool: &ToolSpec, fuel: bool) -> Result<Arc<Program>, RunError> {
        let bad = |problem: String, source| bad_tool(tool, problem, source);
        let code = read_code(tool)?;
        let kind = EngineKind {
            code: CodeKind::detect(&code).map_err(|e| bad(e, None))?,
            fuel,
        };
        let digest = code::digest(&code);
        let engine = self
            .engines
            .get(kind)
            .map_err(|e| host("making the engine", io::Error::other(e)))?;
        let loaded = self.compiled(tool, kind, engine, &digest, code).await?;
        let program = match &loaded {
            Loaded::Module(module) => Program::from_module(engine, digest, module),
            Loaded::Component(component) => Program::from_component(engine, digest, component),
        };
        program.map(Arc::new).map_err(|e| program_failed(tool, e))
    }

    /// Compiled code of the tool, from the cache or the compiler.
    async fn compiled(
        &self,
        tool: &ToolSpec,
        kind: EngineKind,
        engine: &Engine,
        digest: &str,
        code: Vec<u8>,
    ) -> Result<Loaded, RunError> {
        let Some(cache) = self.cache().map_err(cache_failed)? else {
            let compiled = self.compile(tool, kind, code).await?;
            return Loaded::from_bytes(engine, kind, &compiled).map_err(|e| unloadable(tool, e));
        };
        let key = Cache::key(engine, digest);
        if let Some(loaded) = from_cache(cache, &key, engine, kind)? {
            return Ok(loaded);
        }
        let lock = match cache.lock(&key).await {
            // A full disk keeps the code from being kept, not from being run.
            Err(error) if error.is_full_disk() => {
                note_not_kept(&error);
                let compiled = self.compile(tool, kind, code).await?;
                return Loaded::from_bytes(engine, kind, &compiled)
                    .map_err(|e| unloadable(tool, e));
            }
            lock => lock.map_err(cache_failed)?,
        };
        // Whoever held the lock before us may have compiled it.
        if let Some(loaded) = from_cache(cache, &key, engine, kind)? {
            return Ok(loaded);
        }
        let compiled = self.compile(tool, kind, code).await?;
        if let Err(error) = cache.store(&key, &compiled, &lock) {
            note_not_kept(&error);
        }
        Loaded::from_bytes(engine, kind, &compiled).map_err(|e| unloadable(tool, e))
    }

    async fn compile(
        &self,
        tool: &ToolSpec,
        kind: EngineKind,
        code: Vec<u8>,
    ) -> Result<Vec<u8>, RunError> {
        let _turn = self
            .compiling
            .acquire()
            .await
            .map_err(|e| host("waiting to compile", e))?;
        tracing::info!(tool = %tool.name, bytes = code.len(), "compiling");
        self.compiler
            .compile(kind, code)
            .await
            .map_err(|error| match error {
                CompileError::BadCode(problem) => bad_tool(tool, problem, None),
                CompileError::Process { program, source } => RunError::Host {
                    doing: "starting the compiler process".into(),
                    path: Some(program),
                    fix: "check that the program exists and may be executed".into(),
                    source: source.into(),
                },
            })
    }

    fn cache(&self) -> Result<Option<&Cache>, CacheError> {
        let Some(path) = &self.cache_path else {
            return Ok(None);
        };
        if self.cache.get().is_none() {
            let _ = self.cache.set(Cache::open(path)?);
        }
        Ok(self.cache.get())
    }
}

/// The call can be made all the same; only the next one compiles again.
fn note_not_kept(error: &CacheError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(
        error,
        "compiled code could not be kept; it is compiled again next time"
    );
}

/// Compiled code in this process.
enum Loaded {
    Module(Module),
    Component(Component),
}

impl Loaded {
    #[expect(
        unsafe_code,
        reason = "compiled code can only be loaded by trusting it"
    )]
    fn from_bytes(engine: &Engine, kind: EngineKind, compiled: &[u8]) -> wasmtime::Result<Self> {
        match kind.code {
            // SAFETY: `compiled` comes from our compiler, unchanged, made with `engine`'s settings.
            CodeKind::Module => unsafe { Module::deserialize(engine, compiled) }.map(Self::Module),
            CodeKind::Component => {
                // SAFETY: as above.
                unsafe { Component::deserialize(engine, compiled) }.map(Self::Component)
            }
        }
    }

    #[expect(
        unsafe_code,
        reason = "compiled code can only be loaded by trusting it"
    )]
    fn from_entry(engine: &Engine, kind: EngineKind, entry: Entry) -> wasmtime::Result<Self> {
        match kind.code {
            CodeKind::Module => {
                // SAFETY: the entry lies in a directory that only we can write, is a plain file of
                // ours, and matched the digest it was stored with; it is mapped from the descriptor
                // that was checked. Only this user could have made it other than by `Cache::store`.
                unsafe { Module::deserialize_open_file(engine, entry.file) }.map(Self::Module)
            }
            CodeKind::Component => {
                let path = format!("/proc/self/fd/{}", entry.file.as_raw_fd());
                // SAFETY: as above.
                unsafe { Component::deserialize_file(engine, path) }.map(Self::Component)
            }
        }
    }
}

/// The cached code under `key`, if it is there, sound and made by this very engine.
fn from_cache(
    cache: &Cache,
    key: &Key,
    engine: &Engine,
    kind: EngineKind,
) -> Result<Option<Loaded>, RunError> {
    let Some(entry) = cache.find(key).map_err(cache_failed)? else {
        return Ok(None);
    };
    match Loaded::from_entry(engine, kind, entry) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(error) => {
            cache
                .remove(key, &format!("does not load: {error:#}"))
                .map_err(cache_failed)?;
            Ok(None)
        }
    }
}

/// The tool's code, at most [`MAX_CODE_BYTES`] of it.
fn read_code(tool: &ToolSpec) -> Result<Vec<u8>, RunError> {
    let path = match &tool.run {
        Run::Wasm(WasmSource::Bytes(bytes)) => return Ok(bytes.to_vec()),
        Run::Wasm(WasmSource::File(path)) => path,
        other => {
            return Err(bad_tool(
                tool,
                format!("{} does not run on this tier", other.form()),
                None,
            ));
        }
    };
    let code = read_plain_file(path).map_err(|source| RunError::BadTool {
        tool: tool.name.clone(),
        problem: format!("its program {} cannot be read", path.display()),
        fix: "build the tool, or correct `wasm` in its tool.toml".into(),
        source: Some(source.into()),
    })?;
    if code.len() > MAX_CODE_BYTES {
        return Err(bad_tool(
            tool,
            format!("its program has more than {MAX_CODE_BYTES} bytes"),
            None,
        ));
    }
    Ok(code)
}

/// At most [`MAX_CODE_BYTES`] and one byte of a regular file; a FIFO or device is not waited for.
fn read_plain_file(path: &Path) -> io::Result<Vec<u8>> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let length = usize::try_from(metadata.len())
        .unwrap_or(usize::MAX)
        .min(MAX_CODE_BYTES);
    let mut code = Vec::with_capacity(length + 1);
    file.take(MAX_CODE_BYTES as u64 + 1)
        .read_to_end(&mut code)?;
    Ok(code)
}
