//! `axocoatl tool`: what tools there are.

mod add;
mod copy;
mod show;

use std::io;
use std::path::PathBuf;

use axocoatl_isolation::{BuildError, CallError, Engine, FindError, Places, ToolName};
use comfy_table::{Table, presets};
use serde_json::json;

use super::{fail, fail_build, fail_find, fail_reference};
use crate::args;
use crate::convert;
use crate::exit::Exit;
use crate::mounts;
use crate::printer::Printer;
use crate::reference::ToolReference;
use crate::setup;

pub(super) async fn run(command: args::Tool, printer: &Printer) -> Exit {
    match command {
        args::Tool::Ls => list(printer),
        args::Tool::Show { tool } => show::run(&tool, printer),
        args::Tool::Check { tool } => check(&tool, printer).await,
        args::Tool::Add { directory } => add::add(&directory, printer).await,
        args::Tool::Rm { name } => remove(&name, printer),
    }
}

fn list(printer: &Printer) -> Exit {
    let engine = match setup::builder().and_then(|(builder, _)| builder.build()) {
        Ok(engine) => engine,
        Err(error) => return fail_build(printer, &error),
    };
    let listings = match engine.registry().list() {
        Ok(listings) => listings,
        Err(error) => return fail_find(printer, &error),
    };
    printer.result(
        || json!({ "tools": listings.iter().map(convert::listing).collect::<Vec<_>>() }),
        || {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header([
                "NAME",
                "VERSION",
                "FROM",
                "REQUIRES",
                "DESCRIPTION",
            ]);
            for listing in &listings {
                match &listing.tool {
                    Ok(tool) => table.add_row([
                        listing.name.as_str(),
                        tool.spec().version.as_deref().unwrap_or("-"),
                        listing.origin,
                        tool.spec().requires.as_str(),
                        tool.spec().description.as_deref().unwrap_or_default(),
                    ]),
                    Err(error) => table.add_row([
                        &listing.name,
                        "-",
                        listing.origin,
                        "-",
                        &format!("error: {}", convert::chain(error)),
                    ]),
                };
            }
            table.trim_fmt()
        },
    );
    if listings.iter().all(|listing| listing.tool.is_ok()) {
        Exit::Success
    } else {
        Exit::Unwell
    }
}

/// An engine that knows the tool that `text` names.
fn engine_for(text: &str, printer: &Printer) -> Result<(Engine, ToolName), Exit> {
    let reference = ToolReference::parse(text).map_err(|e| fail_reference(printer, &e))?;
    let (builder, _) = setup::builder().map_err(|e| fail_build(printer, &e))?;
    let (builder, name) = reference
        .add_to(builder)
        .map_err(|e| fail_find(printer, &e))?;
    let engine = builder.build().map_err(|e| fail_build(printer, &e))?;
    Ok((engine, name))
}

async fn check(text: &str, printer: &Printer) -> Exit {
    let (engine, name) = match engine_for(text, printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    // Whether it may run at all comes first: it says most, and costs least.
    let tool = match engine
        .explain(&name)
        .and_then(|_| Ok(engine.registry().find(&name)?))
    {
        Ok(tool) => tool,
        Err(error) => return fail_call(&error, printer),
    };
    if let Err(error) = mounts::check(tool.spec()) {
        return fail(printer, &error, Exit::Failed);
    }
    match engine.check(&name).await {
        Ok(placement) => {
            let tier = placement.chosen.map(|tier| tier.as_str());
            printer.result(
                || json!({ "tool": name.as_str(), "ok": true, "placement": convert::placement(&placement) }),
                || format!("tool {name} is good, and runs on tier {}", tier.unwrap_or("-")),
            );
            Exit::Success
        }
        Err(error) => fail_call(&error, printer),
    }
}

fn fail_call(error: &CallError, printer: &Printer) -> Exit {
    printer.error(error, || convert::call_error(error));
    error.into()
}

#[derive(Debug, thiserror::Error)]
#[error("removing {path}; check its permissions, or that it is a directory")]
struct RemoveError {
    path: PathBuf,
    source: io::Error,
}

fn remove(name: &ToolName, printer: &Printer) -> Exit {
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail_build(printer, &BuildError::from(error)),
    };
    let path = places.user_tools().join(name.as_str());
    if path.symlink_metadata().is_err() {
        let error = FindError::NotFound {
            name: name.clone(),
            searched: vec![places.user_tools()],
        };
        return fail_find(printer, &error);
    }
    match std::fs::remove_dir_all(&path) {
        Ok(()) => {
            printer.result(
                || json!({ "removed": convert::path(&path) }),
                || format!("removed tool {name} from {}", path.display()),
            );
            Exit::Success
        }
        Err(source) => fail(printer, &RemoveError { path, source }, Exit::Failed),
    }
}
