//! From the command line to an engine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axocoatl_isolation::{
    AuditLog, BuildError, Engine, EngineBuilder, FindError, Owner, Places, Policy, Requirement,
    Run, ToolName, ToolSpec, WasmSource, reap,
};

/// Calls at once in this process: it makes one.
const CONCURRENCY: u32 = 1;

/// An engine builder with this process's places, and those places.
pub(crate) fn builder() -> Result<(EngineBuilder, Places), BuildError> {
    let places = Places::of_process()?;
    Ok((
        Engine::builder()
            .places(places.clone())
            .concurrency(CONCURRENCY),
        places,
    ))
}

/// An engine that touches none of this process's places: everything it makes is in a directory
/// that is removed with the returned value. For proving what the host can do without changing it.
pub(crate) fn trial_engine() -> anyhow::Result<(Engine, Owner)> {
    let trials = make_trials()?;
    // What a trial that was killed left, the next one removes.
    reap(&trials, false).with_context(|| format!("reaping {}", trials.display()))?;
    let home = Owner::new_beneath(&trials)?;
    let engine = Engine::builder()
        .places(Places::under(home.path()))
        .policy(Policy::default())
        .tool_roots(Vec::new())
        .audit(AuditLog::off())
        .concurrency(CONCURRENCY)
        .build()?;
    Ok((engine, home))
}

/// Where trials are made: a directory of this user alone, beneath the system's temporary one. Made
/// if it is not there.
fn make_trials() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = trials();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("making {}", path.display()))?;
    if !is_ours_alone(&path) {
        anyhow::bail!(
            "{} is not this user's alone: remove it, or set TMPDIR",
            path.display()
        );
    }
    Ok(path)
}

/// Where this user's trials are, if they are anywhere.
pub(crate) fn trials() -> PathBuf {
    let us = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("axocoatl-trials-{us}"))
}

/// Whether `path` is a directory of ours. In a shared directory its name could be taken by
/// somebody else, or lead elsewhere.
pub(crate) fn is_ours_alone(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path)
        .is_ok_and(|m| m.is_dir() && m.uid() == us && m.mode() & 0o022 == 0)
}

/// A tool as the user names it.
pub(crate) enum ToolReference {
    /// By name, looked up in the registry.
    Name(ToolName),
    /// By its directory.
    Directory(PathBuf),
    /// A bare program.
    Program(PathBuf),
}

/// Why a text names no tool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(transparent)]
    Name(#[from] axocoatl_isolation::NameError),
    #[error("{0} does not exist")]
    Missing(PathBuf),
}

impl ToolReference {
    /// A text with a slash, or with the ending of a program, is a path; any other is a name. So no
    /// file of the working directory can pass for a tool of the user.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let path = Path::new(text);
        let is_program = path.extension().is_some_and(|e| e == "wasm" || e == "wat");
        if !text.contains('/') && !is_program && text != "." && text != ".." {
            return Ok(Self::Name(ToolName::parse(text)?));
        }
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Directory(path.to_owned())),
            Ok(_) => Ok(Self::Program(path.to_owned())),
            Err(_) => Err(ReferenceError::Missing(path.to_owned())),
        }
    }

    /// Makes the tool known to the engine, and tells its name.
    pub(crate) fn add_to(
        self,
        builder: EngineBuilder,
    ) -> Result<(EngineBuilder, ToolName), FindError> {
        match self {
            Self::Name(name) => Ok((builder, name)),
            // Only this tool is known then, so it cannot clash with one of its name elsewhere.
            Self::Directory(path) => builder.tool_roots(Vec::new()).tool_directory(&path),
            Self::Program(path) => {
                let spec = program_spec(&path);
                let name = spec.name.clone();
                Ok((builder.tool_roots(Vec::new()).tool(spec), name))
            }
        }
    }
}

/// A bare program as a tool: it asks for nothing, and is named after its file.
fn program_spec(path: &Path) -> ToolSpec {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let name =
        ToolName::parse(plain.trim_start_matches(['-', '_'])).or_else(|_| ToolName::parse("tool"));
    #[expect(clippy::expect_used, reason = "\"tool\" is a name")]
    let name = name.expect("\"tool\" is a name");
    ToolSpec::new(
        name,
        Requirement::Wasm,
        Run::Wasm(WasmSource::File(path.to_owned())),
    )
}
