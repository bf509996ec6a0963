//! One call of a tool through the real command.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::TOOLS;
use crate::shell::Shell;

/// What the command printed, how it ended, and how long it took.
pub(super) struct Called {
    pub(super) outcome: Value,
    pub(super) status: i32,
    pub(super) took: Duration,
}

pub(super) fn call(shell: &Shell, tool: &str, input: &Value) -> Result<Called> {
    let file = shell.scratch("inputs")?.join(format!("{tool}.json"));
    std::fs::write(&file, input.to_string())
        .with_context(|| format!("writing {}", file.display()))?;
    let command = shell
        .command(shell.release("axocoatl"))
        .arg("run")
        .arg(format!("{TOOLS}/{tool}"))
        .arg("--input-file")
        .arg(&file)
        .arg("--json")
        // Nothing of the user's is read or written.
        .env("AXOCOATL_HOME", shell.scratch("home")?);
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    let status = output
        .status
        .code()
        .with_context(|| format!("the command ended with {}", output.status))?;
    let outcome = serde_json::from_slice(&output.stdout).with_context(|| {
        let log = String::from_utf8_lossy(&output.stderr);
        format!(
            "the command ended with {status} and printed no JSON; its log: {}",
            log.trim_end()
        )
    })?;
    Ok(Called {
        outcome,
        status,
        took,
    })
}

impl Called {
    /// The output of a call that went well.
    pub(super) fn output(&self) -> Result<&Value> {
        ensure!(
            self.status == 0,
            "the command ended with {}: {:#}",
            self.status,
            self.outcome
        );
        ensure!(
            self.outcome["exit_code"] == 0,
            "the tool did not end well: {:#}",
            self.outcome
        );
        Ok(&self.outcome["output"])
    }
}
