//! A tool as the registry keeps it: what it is, and the schemas of its documents.

use std::sync::Arc;

use axo_core::{Document, ToolSpec};

use crate::error::CallError;
use crate::schema::{Schema, SchemaError};

/// A tool that was found and read.
#[derive(Debug)]
pub struct Tool {
    spec: Arc<ToolSpec>,
    input: Option<Schema>,
    output: Option<Schema>,
}

impl Tool {
    /// Reads the schemas that `spec` names.
    pub(crate) fn load(spec: ToolSpec) -> Result<Self, SchemaError> {
        let load =
            |path: &Option<std::path::PathBuf>| path.as_deref().map(Schema::load).transpose();
        Ok(Self {
            input: load(&spec.schemas.input)?,
            output: load(&spec.schemas.output)?,
            spec: Arc::new(spec),
        })
    }

    /// What the tool is.
    #[must_use]
    pub fn spec(&self) -> &Arc<ToolSpec> {
        &self.spec
    }

    pub(crate) async fn check_input(&self, input: &Document) -> Result<(), CallError> {
        match &self.input {
            Some(schema) => schema.check(input).await.map_err(CallError::Input),
            None => Ok(()),
        }
    }

    pub(crate) async fn check_output(&self, output: &Document) -> Result<(), SchemaError> {
        match &self.output {
            Some(schema) => schema.check(output).await,
            None => Ok(()),
        }
    }
}
