//! What a call came to, as the user is told.

use axocoatl_isolation::{CallError, Outcome, ToolOutput};

use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

/// The output of a tool that wrote nothing.
const EMPTY: &str = "\"\"";

pub(super) fn outcome(outcome: &Outcome, explain: bool, printer: &Printer) -> Exit {
    if explain {
        printer.note(&outcome.placement.to_string());
    }
    let exit = Exit::from(&outcome.termination);
    if printer.is_json() {
        printer.line(&convert::outcome_text(outcome));
        return exit;
    }
    printer.log(&outcome.stderr);
    if !outcome.termination.is_success() {
        printer.note(&format!("tool {} {}", outcome.tool, outcome.termination));
    }
    match &outcome.output {
        // A tool that was stopped before it wrote anything has no answer, not an empty one.
        ToolOutput::Document(document)
            if **document.text() == *EMPTY && !outcome.termination.is_success() => {}
        ToolOutput::Document(document) => printer.line(document.text()),
        ToolOutput::Invalid(problem) if outcome.exit_code().is_some() => {
            printer.note(&format!("no output: {problem}"));
        }
        ToolOutput::Invalid(_) => {}
    }
    exit
}

pub(super) fn error(error: &CallError, explain: bool, printer: &Printer) -> Exit {
    if let CallError::Denied(denied) = error
        && let Some(placement) = denied.placement()
        && explain
    {
        printer.note(&placement.to_string());
    }
    if let Some(outcome) = error.outcome()
        && !printer.is_json()
    {
        printer.log(&outcome.stderr);
        printer.note("what the tool wrote is shown with --json");
    }
    printer.error(error, || convert::call_error(error));
    error.into()
}
