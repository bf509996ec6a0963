//! A tool's `cases.json`: `[{ "name", "input", and "output" or "exit_code" }]`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::TOOLS;
use super::call::{Called, call};
use crate::shell::Shell;

/// Runs all of them. Returns what there is to say about it.
pub(super) fn run(shell: &Shell, tool: &str) -> Result<String> {
    let path = format!("{TOOLS}/{tool}/cases.json");
    let text = std::fs::read(shell.root.join(&path)).with_context(|| format!("reading {path}"))?;
    let cases: Vec<Value> =
        serde_json::from_slice(&text).with_context(|| format!("reading {path}"))?;
    ensure!(!cases.is_empty(), "{path} has no case");

    let mut took = Duration::ZERO;
    let mut failures = Vec::new();
    for case in &cases {
        let called = call(shell, tool, &case["input"])?;
        took += called.took;
        if let Err(error) = check(case, &called) {
            failures.push(format!("{}: {error:#}", case["name"]));
        }
    }
    if !failures.is_empty() {
        bail!(
            "{} of {} cases failed:\n  {}",
            failures.len(),
            cases.len(),
            failures.join("\n  ")
        );
    }
    Ok(format!(
        "{} cases in {:.2} s",
        cases.len(),
        took.as_secs_f64()
    ))
}

fn check(case: &Value, called: &Called) -> Result<()> {
    match (case.get("output"), case.get("exit_code")) {
        (Some(expected), None) => {
            let output = called.output()?;
            ensure!(output == expected, "expected {expected}, got {output}");
        }
        (None, Some(expected)) => {
            let code = &called.outcome["exit_code"];
            ensure!(
                code == expected && *expected == called.status,
                "expected the tool and the command to end with {expected}; the tool ended with {code}, \
                 the command with {}: {}",
                called.status,
                called.outcome
            );
        }
        _ => bail!("a case has either `output` or `exit_code`"),
    }
    Ok(())
}
