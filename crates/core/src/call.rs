//! A request to run a tool.

use std::fmt;
use std::sync::Arc;

use crate::{Document, Grants, Limits, Tier, ToolName};

/// The identity of one call: a random (version 4) UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallId(uuid::Uuid);

impl CallId {
    /// A new identity.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl Default for CallId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a caller asks for beyond the tool's manifest. The operator's policy bounds all of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CallOptions {
    /// Limits in place of the manifest's.
    pub limits: Limits,
    /// Grants beyond the manifest's.
    pub grants: Grants,
    /// This tier and no other.
    pub tier: Option<Tier>,
    /// This tier or a stronger one.
    pub min_tier: Option<Tier>,
}

/// A request to run a tool.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolCall {
    /// Its identity, the same in the tool's environment, the outcome and the audit record.
    pub id: CallId,
    /// Which tool.
    pub tool: ToolName,
    /// Its input.
    pub input: Document,
    /// What is asked beyond the manifest; shared, because most callers use the same for every call.
    pub options: Arc<CallOptions>,
}

impl ToolCall {
    /// A call of `tool` with `input`, and nothing beyond its manifest.
    #[must_use]
    pub fn new(tool: ToolName, input: impl Into<Document>) -> Self {
        Self {
            id: CallId::new(),
            tool,
            input: input.into(),
            options: Arc::default(),
        }
    }

    /// The same call with `options`.
    #[must_use]
    pub fn with_options(mut self, options: impl Into<Arc<CallOptions>>) -> Self {
        self.options = options.into();
        self
    }
}
