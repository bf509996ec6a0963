//! `axocoatl tool add`: a tool becomes the user's own.

use std::io;
use std::path::{Path, PathBuf};

use axocoatl_isolation::{
    BuildError, CallError, Engine, FindError, OwnerError, Places, Tier, ToolName,
};
use serde_json::json;

use super::copy;
use super::{RemoveError, engine_for, fail_call};
use crate::commands::{fail, fail_build, fail_find};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::reference::is_bare_bundle;
use crate::setup;

#[derive(Debug, thiserror::Error)]
pub(super) enum AddError {
    #[error(
        "there is a tool {name} already ({place}); remove it first, \
         with `axocoatl tool rm {name}` if it is the user's"
    )]
    Exists { name: ToolName, place: String },
    #[error("{0} is a file: `tool add` takes a tool's directory, with tool.toml in it")]
    NoDirectory(PathBuf),
    #[error(
        "{0} is a bare bundle: write a tool.toml beside its config.json, with a name and \
         `bundle = \".\"` under [run], then add it"
    )]
    NoManifest(PathBuf),
    #[error("{path} cannot be copied: {problem}")]
    Unusable { path: PathBuf, problem: String },
    #[error("copying to {path}; check its permissions and the space left")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

pub(super) async fn add(directory: &Path, printer: &Printer) -> Exit {
    if directory.is_file() {
        let error = AddError::NoDirectory(directory.to_owned());
        return fail(printer, &error, Exit::Failed);
    }
    if is_bare_bundle(directory) {
        let error = AddError::NoManifest(directory.to_owned());
        return fail(printer, &error, Exit::Failed);
    }
    // A path without a slash is a directory here all the same.
    let directory = Path::new(".").join(directory);
    let (engine, name) = match engine_for(&directory.to_string_lossy(), printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    // What is made ahead of calls in machines is made of the tool as it lies there, so that is done when
    // it lies where it stays. All else is checked before anything is copied.
    let in_machines = engine
        .explain(&name)
        .is_ok_and(|placement| placement.chosen == Some(Tier::MicroVm));
    if !in_machines && let Err(exit) = checked(&engine, &name, printer).await {
        return exit;
    }
    let tool = match engine.registry().find(&name) {
        Ok(tool) => tool,
        Err(error) => return fail_find(printer, &error),
    };
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail_build(printer, &BuildError::from(error)),
    };
    if let Some(place) = existing(&name) {
        return fail(printer, &AddError::Exists { name, place }, Exit::Failed);
    }
    let path = match copy::tool(&directory, tool.spec(), &places.user_tools()) {
        Ok(path) => path,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    if in_machines && let Err(exit) = checked_in_place(&path, printer).await {
        if let Err(source) = std::fs::remove_dir_all(&path) {
            return fail(printer, &RemoveError { path, source }, Exit::Failed);
        }
        return exit;
    }
    printer.result(
        || json!({ "tool": name.as_str(), "directory": convert::path(&path) }),
        || format!("added tool {name} in {}", path.display()),
    );
    Exit::Success
}

/// A tool that needs a tier this host lacks may still be added; a broken one may not.
async fn checked(engine: &Engine, name: &ToolName, printer: &Printer) -> Result<(), Exit> {
    match engine.check(name).await {
        Ok(_) | Err(CallError::Denied(_)) => Ok(()),
        Err(error) => Err(fail_call(&error, printer)),
    }
}

async fn checked_in_place(path: &Path, printer: &Printer) -> Result<(), Exit> {
    let (engine, name) = engine_for(&path.to_string_lossy(), printer)?;
    checked(&engine, &name, printer).await
}

/// Where a tool of this name is already: two of one name could not be told apart.
fn existing(name: &ToolName) -> Option<String> {
    let engine = setup::builder().ok()?.0.build().ok()?;
    match engine.registry().find(name) {
        Err(FindError::NotFound { .. }) => None,
        Ok(tool) => Some(match &tool.spec().directory {
            Some(directory) => directory.display().to_string(),
            None => "the policy".to_owned(),
        }),
        Err(other) => Some(convert::chain(&other)),
    }
}
