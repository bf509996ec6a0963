//! A tool as its manifest describes it, checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Form, Grants, Limits, OutputMode, Requirement, Tier, ToolName};

/// The identity of one loaded [`ToolSpec`], unique in this process. Tiers keep what they prepared
/// for a tool under it, so a tool loaded anew is prepared anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpecId(u64);

impl SpecId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a WebAssembly program is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WasmSource {
    /// A `.wasm` or `.wat` file.
    File(PathBuf),
    /// Its bytes, or its text.
    Bytes(Arc<[u8]>),
}

/// What runs: exactly one of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Run {
    /// A p1 module or p2 component, told apart by its bytes.
    Wasm(WasmSource),
    /// An OCI runtime bundle: a directory with `config.json` and `rootfs/`.
    Bundle(PathBuf),
    /// An OCI image.
    Image {
        /// Its reference, `registry/name:tag@sha256:…`.
        reference: String,
        /// The command, in place of the image's own.
        command: Vec<String>,
        /// Directory whose content is put at `/tool`.
        files: Option<PathBuf>,
    },
    /// A command of the host from the operator's policy.
    Command(Vec<String>),
    /// A function of the embedding program, which the tier `none` knows by the tool's name.
    Function,
}

impl Run {
    /// What kind of thing it is, for placement.
    #[must_use]
    pub const fn form(&self) -> Form {
        match self {
            Self::Wasm(_) => Form::Wasm,
            Self::Bundle(_) => Form::Bundle,
            Self::Image { .. } => Form::Image,
            Self::Command(_) => Form::Command,
            Self::Function => Form::Function,
        }
    }
}

/// The JSON Schema files of a tool; read and compiled by whoever checks documents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schemas {
    /// For the input.
    pub input: Option<PathBuf>,
    /// For the output.
    pub output: Option<PathBuf>,
}

/// The identity that a spec carries. A clone may be changed before it is used, so it is another
/// loading and has another identity.
#[derive(Debug)]
pub(crate) struct Identity(SpecId);

impl Identity {
    pub(crate) fn new() -> Self {
        Self(SpecId::next())
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// A tool, as its manifest or its operator describes it.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    pub(crate) id: Identity,
    /// Its name.
    pub name: ToolName,
    /// Its version.
    pub version: Option<Arc<str>>,
    /// What it does, in a sentence.
    pub description: Option<String>,
    /// What it needs.
    pub requires: Requirement,
    /// What runs.
    pub run: Run,
    /// Where its output is.
    pub output: OutputMode,
    /// What its documents look like.
    pub schemas: Schemas,
    /// The limits it asks for.
    pub limits: Limits,
    /// The grants it asks for.
    pub grants: Grants,
    /// The weakest tier it accepts.
    pub min_tier: Option<Tier>,
    /// Its own directory, absolute; `None` for tools that have none.
    pub directory: Option<PathBuf>,
}

impl ToolSpec {
    /// A tool that asks for nothing: no grant, no limit beyond the defaults, any output.
    #[must_use]
    pub fn new(name: ToolName, requires: Requirement, run: Run) -> Self {
        Self {
            id: Identity::new(),
            name,
            version: None,
            description: None,
            requires,
            run,
            output: OutputMode::default(),
            schemas: Schemas::default(),
            limits: Limits::default(),
            grants: Grants::default(),
            min_tier: None,
            directory: None,
        }
    }

    /// The identity of this loading of the tool.
    #[must_use]
    pub const fn id(&self) -> SpecId {
        self.id.0
    }
}
