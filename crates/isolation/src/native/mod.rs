//! Tier 0, `none`: functions of the embedding program, and commands on the operator's list. There
//! is no wall around them: they are trusted by name.

mod command;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axo_core::{
    BoxFuture, Capabilities, Document, Executor, Finished, Form, GrantKind, LimitKind, Outcome,
    OutputFile, PlacedCall, Readiness, Run, RunError, Termination, Tier, ToolName, ToolSpec, Usage,
};
use serde_json::Value;

/// A function of the embedding program: JSON in, JSON or an error message out.
pub(crate) type Function =
    Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// What the tier does. It enforces no limit on memory, processor, processes, files or disk, so a
/// tool that asks for one of those is refused.
const CAPABILITIES: Capabilities = Capabilities {
    forms: &[Form::Function, Form::Command],
    limits: &[LimitKind::Wall, LimitKind::Output],
    grants: &[GrantKind::Env],
};

/// Tier 0.
#[derive(Default)]
pub(crate) struct NativeExecutor {
    functions: HashMap<ToolName, Function>,
}

impl NativeExecutor {
    /// Registers a function under the name of its tool.
    pub(crate) fn register<F, R>(&mut self, name: ToolName, function: F)
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, String>> + Send + 'static,
    {
        self.functions
            .insert(name, Arc::new(move |input| Box::pin(function(input))));
    }

    async fn run_function(&self, call: PlacedCall) -> Result<Outcome, RunError> {
        let function = self
            .functions
            .get(&call.spec().name)
            .ok_or_else(|| unknown(call.spec()))?;
        let started = Instant::now();
        let result = function(call.input().value().clone());
        let limit = call.limits().output.as_usize();
        let (termination, stdout, stderr) =
            match tokio::time::timeout(call.limits().wall, result).await {
                Err(_) => (Termination::TimedOut, Vec::new(), Vec::new()),
                Ok(Ok(value)) => {
                    let mut text = Document::from(value).text().as_bytes().to_vec();
                    let over = text.len() > limit;
                    text.truncate(limit);
                    let end = if over {
                        Termination::OutputLimit
                    } else {
                        Termination::Exited(0)
                    };
                    (end, text, Vec::new())
                }
                Ok(Err(message)) => {
                    let mut log = message.into_bytes();
                    log.truncate(limit);
                    (Termination::Exited(1), Vec::new(), log)
                }
            };
        Ok(call.conclude(Finished {
            termination,
            stdout,
            stderr,
            output_file: OutputFile::Absent,
            usage: Usage {
                wall: started.elapsed(),
                ..Usage::default()
            },
            digest: None,
        }))
    }

    async fn run_any(&self, call: PlacedCall) -> Result<Outcome, RunError> {
        match &call.spec().run {
            Run::Function => self.run_function(call).await,
            Run::Command(argv) => {
                let finished = command::run(argv, &call).await?;
                Ok(call.conclude(finished))
            }
            _ => Err(unknown(call.spec())),
        }
    }
}

impl Executor for NativeExecutor {
    fn tier(&self) -> Tier {
        Tier::None
    }

    fn readiness(&self) -> Readiness {
        Readiness::Ready(CAPABILITIES)
    }

    fn run(&self, call: PlacedCall) -> BoxFuture<'_, Result<Outcome, RunError>> {
        Box::pin(self.run_any(call))
    }

    fn prepare<'a>(&'a self, call: &'a PlacedCall) -> BoxFuture<'a, Result<(), RunError>> {
        let tool = call.spec();
        let known = match &tool.run {
            Run::Function => self.functions.contains_key(&tool.name),
            Run::Command(argv) => argv
                .first()
                .is_some_and(|program| Path::new(program).is_file()),
            _ => false,
        };
        Box::pin(async move { if known { Ok(()) } else { Err(unknown(tool)) } })
    }
}

fn unknown(tool: &ToolSpec) -> RunError {
    RunError::BadTool {
        tool: tool.name.clone(),
        problem: format!("{} of this name is not there", tool.run.form()),
        fix: "register the function, or correct the command in policy.toml".into(),
        source: None,
    }
}
