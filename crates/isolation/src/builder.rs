//! Puts an engine together.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axo_core::{
    Executor, LocatedError, NativeCommand, Policy, Readiness, Requirement, Run, Tier, TierStatus,
    ToolName, ToolSpec,
};
#[cfg(feature = "oci-isolation")]
use axo_tier_oci::{CgroupDriver, OciConfig, OciExecutor};
#[cfg(feature = "firecracker-isolation")]
use axo_tier_vm::{VmConfig, VmExecutor};
#[cfg(feature = "wasmtime-sandbox")]
use axo_tier_wasm::{Compiler, WasmConfig, WasmExecutor};
use serde_json::Value;

use crate::Engine;
use crate::audit::AuditLog;
use crate::native::NativeExecutor;
use crate::owner::{Owner, reap};
use crate::places::{Places, PlacesError};
use crate::plain_file;
use crate::registry::{FindError, Registry, ToolRoot, read_spec};

/// Most calls at once on tier `wasm`, unless the builder says otherwise.
#[cfg(feature = "wasmtime-sandbox")]
const DEFAULT_CONCURRENCY: u32 = 64;
/// Most that the builder may say: each may take 40 GiB of address space, of which 47 bits hold 3,200.
#[cfg(feature = "wasmtime-sandbox")]
const MAX_CONCURRENCY: u32 = 1024;

/// Most containers at once, unless the builder says otherwise: each has two processes beside its own.
#[cfg(feature = "oci-isolation")]
const DEFAULT_CONTAINERS: u32 = 32;
/// Most that the builder may say.
#[cfg(feature = "oci-isolation")]
const MAX_CONTAINERS: u32 = 1024;

/// Most machines at once, unless the builder says otherwise: each has the memory of its guest.
#[cfg(feature = "firecracker-isolation")]
const DEFAULT_MACHINES: u32 = 16;

/// Largest policy, in bytes.
const MAX_POLICY_BYTES: usize = 1 << 20;

/// First argument of this program when it is started to compile for itself.
#[cfg(feature = "wasmtime-sandbox")]
const COMPILER_ARGUMENT: &str = "axocoatl-compiler";

/// Set once [`serve_compiler_if_asked`] was called, so that this program can start itself as compiler.
#[cfg(feature = "wasmtime-sandbox")]
static SERVES_COMPILER: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes an [`Engine`]. Everything not said has the operator's default.
#[derive(Default)]
pub struct EngineBuilder {
    places: Option<Places>,
    policy: Option<Policy>,
    roots: Option<Vec<ToolRoot>>,
    audit: Option<AuditLog>,
    concurrency: Option<u32>,
    #[cfg(feature = "oci-isolation")]
    warm_containers: usize,
    #[cfg(feature = "oci-isolation")]
    only_looks: bool,
    #[cfg(feature = "firecracker-isolation")]
    machines: Option<PathBuf>,
    #[cfg(feature = "firecracker-isolation")]
    warm_machines: usize,
    tools: Vec<ToolSpec>,
    native: NativeExecutor,
    functions: Vec<ToolName>,
    executors: Vec<Arc<dyn Executor>>,
    #[cfg(feature = "wasmtime-sandbox")]
    compiler: Option<Compiler>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No place for its files.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The policy file cannot be read. Without it we do not know what is allowed.
    #[error("reading the policy {path}; make it readable, or remove it for the defaults")]
    PolicyUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy file could be somebody else's.
    #[error(
        "the policy {path} belongs to another user or can be written by others: chown it to yourself and chmod go-w it"
    )]
    PolicyUnsafe {
        /// The file.
        path: PathBuf,
    },
    /// The policy file is bad.
    #[error(transparent)]
    Policy(#[from] LocatedError),
    /// A tool that was given is bad, or there are two of its name.
    #[error(transparent)]
    Tool(#[from] FindError),
    /// Nothing says where to compile tools.
    #[error(
        "no compiler for WebAssembly tools: call axocoatl_isolation::serve_compiler_if_asked() first \
         in main, or choose Compiler::InProcess for tools that you trust not to attack the compiler"
    )]
    NoCompiler,
}

/// Turns this process into the compiler of WebAssembly tools if it was started as one, and then
/// does not return. Call it first in `main`: compiling hostile code then happens in a limited
/// process of its own, which is this program started once more.
#[cfg(feature = "wasmtime-sandbox")]
#[expect(
    clippy::exit,
    reason = "a process that serves as compiler does nothing else"
)]
pub fn serve_compiler_if_asked() {
    SERVES_COMPILER.store(true, std::sync::atomic::Ordering::Relaxed);
    // Arguments need not be text; ours are.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == COMPILER_ARGUMENT)
    {
        let arguments: Vec<_> = arguments
            .filter_map(|text| text.into_string().ok())
            .collect();
        let status = axo_tier_wasm::serve_compiler(&arguments);
        std::process::exit(i32::from(status != std::process::ExitCode::SUCCESS));
    }
}

impl EngineBuilder {
    /// Where its files are. Default: [`Places::of_process`].
    #[must_use]
    pub fn places(mut self, places: Places) -> Self {
        self.places = Some(places);
        self
    }

    /// The operator's rules. Default: the file [`Places::policy`], or [`Policy::default`] without one.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Where tools are looked up. Default: [`Places::tool_roots`] of the working directory.
    #[must_use]
    pub fn tool_roots(mut self, roots: Vec<ToolRoot>) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Where calls are recorded. Default: [`Places::audit_log`].
    #[must_use]
    pub fn audit(mut self, audit: AuditLog) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Most calls at once on each tier; further ones wait. Default: 64 on `wasm`, 32 on `oci`,
    /// 16 on `microvm`; at most 1024.
    #[must_use]
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// Keeps this many containers of each tool that was called ready for its next calls, which then
    /// start several times faster. Each costs a runner and a process, and the memory that README.md
    /// tells. Of all tools together no more than 64 are kept. Default: none.
    #[cfg(feature = "oci-isolation")]
    #[must_use]
    pub fn warm_containers(mut self, each: usize) -> Self {
        self.warm_containers = each;
        self
    }

    /// For an engine that only proves what the host can do: what dead engines left is left to those
    /// that are asked to remove it.
    #[cfg(feature = "oci-isolation")]
    #[doc(hidden)]
    #[must_use]
    pub fn only_looks(mut self) -> Self {
        self.only_looks = true;
        self
    }

    /// The data directory in which tier `microvm` was set up. Default: that of the engine's places.
    #[cfg(feature = "firecracker-isolation")]
    #[must_use]
    pub fn machines(mut self, data: PathBuf) -> Self {
        self.machines = Some(data);
        self
    }

    /// Keeps this many machines of each tool that was called ready for its next calls, which then
    /// start several times faster than those that are restored. They are clones of a stored one,
    /// which is made where there is none. Each costs a runner and a Firecracker, and the memory that
    /// its guest has written; README.md tells how much. Of all tools together no more than 32 are
    /// kept. Default: none.
    #[cfg(feature = "firecracker-isolation")]
    #[must_use]
    pub fn warm_machines(mut self, each: usize) -> Self {
        self.warm_machines = each;
        self
    }

    /// Adds a tool that lies in no tool directory.
    #[must_use]
    pub fn tool(mut self, spec: ToolSpec) -> Self {
        self.tools.push(spec);
        self
    }

    /// Adds the tool in `directory`, and tells its name.
    ///
    /// # Errors
    /// [`FindError`] if its manifest cannot be read.
    pub fn tool_directory(
        self,
        directory: &std::path::Path,
    ) -> Result<(Self, ToolName), FindError> {
        let spec = read_spec(directory)?;
        let name = spec.name.clone();
        Ok((self.tool(spec), name))
    }

    /// Registers a function of this program as a tool of tier `none`. That it is registered is what
    /// makes it trusted. An `Err` is the tool's failure, with its message as log.
    #[must_use]
    pub fn function<F, R>(mut self, name: ToolName, function: F) -> Self
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, String>> + Send + 'static,
    {
        self.native.register(name.clone(), function);
        self.functions.push(name);
        self
    }

    /// Uses `executor` for its tier, in place of ours if there is one.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executors.push(executor);
        self
    }

    /// Where WebAssembly tools are compiled. Default: in a limited process, which is this program
    /// started again, if [`serve_compiler_if_asked`] was called.
    #[cfg(feature = "wasmtime-sandbox")]
    #[must_use]
    pub fn compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = Some(compiler);
        self
    }

    /// The engine. Reads the policy; tools and caches are opened by the calls that need them.
    ///
    /// # Errors
    /// [`BuildError`] says what is missing and what to do.
    pub fn build(self) -> Result<Engine, BuildError> {
        let places = match self.places {
            Some(places) => places,
            None => Places::of_process()?,
        };
        let mut policy = match self.policy {
            Some(policy) => policy,
            None => policy_of(&places)?,
        };
        let roots = match self.roots {
            Some(roots) => roots,
            None => places.tool_roots(&std::env::current_dir().unwrap_or_default()),
        };
        let mut registry = Registry::new(roots);
        for spec in self.tools {
            registry.give(spec)?;
        }
        for (name, command) in &policy.native {
            registry.give(native_spec(name.clone(), command))?;
        }
        for name in self.functions {
            registry.give(ToolSpec::new(
                name.clone(),
                Requirement::NativeTrusted,
                Run::Function,
            ))?;
            policy.native_functions.push(name);
        }

        let mut executors = self.executors;
        let add = |executors: &mut Vec<Arc<dyn Executor>>, executor: Arc<dyn Executor>| {
            if executors
                .iter()
                .all(|known| known.tier() != executor.tier())
            {
                executors.push(executor);
            }
        };
        add(&mut executors, Arc::new(self.native));
        #[cfg(feature = "wasmtime-sandbox")]
        if executors.iter().all(|known| known.tier() != Tier::Wasm) {
            let compiler = self
                .compiler
                .or_else(own_compiler)
                .ok_or(BuildError::NoCompiler)?;
            let config = WasmConfig {
                cache: Some(places.wasm_cache()),
                scratch: scratch_root(places.owners()),
                compiler,
                concurrency: self
                    .concurrency
                    .unwrap_or(DEFAULT_CONCURRENCY)
                    .clamp(1, MAX_CONCURRENCY),
            };
            add(&mut executors, Arc::new(WasmExecutor::new(config)));
        }
        #[cfg(feature = "oci-isolation")]
        if executors.iter().all(|known| known.tier() != Tier::Oci) {
            let config = OciConfig {
                images: Some(places.images()),
                trusted_images: policy.trusted_images.clone(),
                concurrency: self
                    .concurrency
                    .unwrap_or(DEFAULT_CONTAINERS)
                    .clamp(1, MAX_CONTAINERS),
                warm: self.warm_containers,
                cgroups: CgroupDriver::Auto,
                reap: !self.only_looks,
            };
            add(&mut executors, Arc::new(OciExecutor::new(config)));
        }
        #[cfg(feature = "firecracker-isolation")]
        if executors.iter().all(|known| known.tier() != Tier::MicroVm) {
            let config = VmConfig {
                installed: self.machines.unwrap_or_else(|| places.data.clone()),
                data: places.data.clone(),
                images: Some(places.images()),
                trusted_images: policy.trusted_images.clone(),
                concurrency: self
                    .concurrency
                    .unwrap_or(DEFAULT_MACHINES)
                    .clamp(1, MAX_CONTAINERS),
                warm: self.warm_machines,
                reap: !self.only_looks,
            };
            add(&mut executors, Arc::new(VmExecutor::new(config)));
        }
        let tiers = Tier::ALL
            .into_iter()
            .map(|tier| status(tier, &executors))
            .collect();
        let audit = self
            .audit
            .unwrap_or_else(|| AuditLog::file(places.audit_log()));
        Ok(Engine {
            registry,
            policy,
            executors,
            tiers,
            audit,
        })
    }
}

/// The operator's rules: the file [`Places::policy`], or [`Policy::default`] without one.
///
/// # Errors
/// If the file is there and cannot be read, is wrong, or others may write it.
pub fn policy_of(places: &Places) -> Result<Policy, BuildError> {
    let path = places.policy();
    match plain_file::read_with_metadata(&path, MAX_POLICY_BYTES) {
        Ok((_, metadata)) if !is_operators(&metadata) => Err(BuildError::PolicyUnsafe { path }),
        Ok((text, _)) => {
            let text = String::from_utf8(text).map_err(|_| BuildError::PolicyUnreadable {
                path: path.clone(),
                source: std::io::Error::other("it is not UTF-8"),
            })?;
            Ok(Policy::parse(&text, &path.display().to_string())?)
        }
        // A link to what is not there is a policy that is lost, and no absence.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {
            Ok(Policy::default())
        }
        Err(source) => Err(BuildError::PolicyUnreadable { path, source }),
    }
}

/// Whether a file is this user's or root's and nobody else may write it: the policy names commands
/// that run on the host.
fn is_operators(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    ours && metadata.mode() & 0o022 == 0
}

/// A command that was named without more.
pub(crate) fn native_command(command: Vec<String>) -> NativeCommand {
    NativeCommand {
        command,
        ..NativeCommand::default()
    }
}

fn native_spec(name: ToolName, command: &NativeCommand) -> ToolSpec {
    let mut spec = ToolSpec::new(
        name,
        Requirement::NativeTrusted,
        Run::Command(command.command.clone()),
    );
    spec.description.clone_from(&command.description);
    spec.limits = command.limits;
    spec
}

/// What a tier can do: what its executor says, or why there is none.
fn status(tier: Tier, executors: &[Arc<dyn Executor>]) -> TierStatus {
    let readiness = match executors.iter().find(|executor| executor.tier() == tier) {
        Some(executor) => executor.readiness(),
        None => Readiness::Unavailable {
            reason: format!("this build has no {tier} tier"),
            fix: match tier {
                Tier::Wasm => "build with the feature wasmtime-sandbox".into(),
                Tier::Oci => "build with the feature oci-isolation".into(),
                Tier::MicroVm => "build with the feature firecracker-isolation".into(),
                Tier::None => "use an engine of ours".into(),
            },
        },
    };
    TierStatus { tier, readiness }
}

/// This program, started again to compile, if its `main` serves that.
#[cfg(feature = "wasmtime-sandbox")]
fn own_compiler() -> Option<Compiler> {
    if !SERVES_COMPILER.load(std::sync::atomic::Ordering::Relaxed) {
        return None;
    }
    // On Linux the running program itself, even if its file was replaced since it started.
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().ok()?
    };
    Some(Compiler::Process {
        program,
        arguments: vec![COMPILER_ARGUMENT.into()],
    })
}

/// The scratch of this process: made by the first call that needs it, after what dead processes
/// left was reaped; removed when the engine goes.
#[cfg(feature = "wasmtime-sandbox")]
fn scratch_root(owners: PathBuf) -> Arc<dyn Fn() -> std::io::Result<PathBuf> + Send + Sync> {
    let owner: Mutex<Option<Owner>> = Mutex::new(None);
    Arc::new(move || {
        let mut owner = owner.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.is_none() {
            if let Err(error) = reap(&owners, false) {
                tracing::warn!(path = %owners.display(), %error, "what dead processes left was not reaped");
            }
            *owner = Some(Owner::new_beneath(&owners).map_err(std::io::Error::other)?);
        }
        owner
            .as_ref()
            .map(|owner| owner.path().to_owned())
            .ok_or_else(|| std::io::Error::other("the directory was not kept"))
    })
}
