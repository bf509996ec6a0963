//! `axocoatl tool show`: a tool as it is understood.

use axocoatl_isolation::{CallError, Run, ToolSpec, overridden_in_bundle};
use serde_json::json;

use super::engine_for;
use crate::commands::fail_find;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) fn run(text: &str, printer: &Printer) -> Exit {
    let (engine, name) = match engine_for(text, printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let tool = match engine.registry().find(&name) {
        Ok(tool) => tool,
        Err(error) => return fail_find(printer, &error),
    };
    let placement = engine.explain(&name);
    let overridden = overridden(tool.spec());
    let json = || {
        let mut value = convert::spec(tool.spec());
        value["placement"] = match &placement {
            Ok(placement) => convert::placement(placement),
            Err(error) => convert::call_error(error),
        };
        match &overridden {
            Some(Ok(settings)) => value["overridden"] = json!(settings),
            Some(Err(why)) => value["overridden"] = json!({ "error": why }),
            None => {}
        }
        value
    };
    printer.result(json, || {
        let mut text = String::new();
        let spec = convert::spec(tool.spec());
        for (key, value) in spec.as_object().into_iter().flatten() {
            if !value.is_null() {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), ToOwned::to_owned);
                text.push_str(&format!("{key:<12} {value}\n"));
            }
        }
        match &overridden {
            Some(Ok(settings)) if !settings.is_empty() => {
                text.push_str("\nof the bundle's config.json, this does not hold:\n");
                for setting in settings {
                    text.push_str(&format!("  {setting}\n"));
                }
            }
            Some(Err(why)) => text.push_str(&format!("\nthe bundle cannot be read: {why}\n")),
            Some(Ok(_)) | None => {}
        }
        match &placement {
            Ok(placement) => text.push_str(&format!("\n{placement}")),
            // It says itself that the tool is refused.
            Err(error @ CallError::Denied(_)) => {
                text.push_str(&format!("\n{}", convert::chain(error)));
            }
            Err(error) => text.push_str(&format!("\nit cannot run: {}", convert::chain(error))),
        }
        text
    });
    Exit::Success
}

/// What of a bundle's own configuration does not hold, or why that cannot be told; nothing for
/// other tools.
fn overridden(tool: &ToolSpec) -> Option<Result<Vec<String>, String>> {
    match &tool.run {
        Run::Bundle(bundle) => {
            Some(overridden_in_bundle(bundle).map_err(|error| convert::chain(&*error)))
        }
        _ => None,
    }
}
