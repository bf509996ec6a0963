//! `axocoatl tool`: what tools there are.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use axocoatl_isolation::{
    BuildError, CallError, Engine, FindError, Owner, OwnerError, Places, ToolName,
};
use comfy_table::{Table, presets};
use serde_json::json;

use super::{fail, fail_build, fail_find, fail_reference};
use crate::args;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::setup::{self, ToolReference};

pub(super) async fn run(command: args::Tool, printer: &Printer) -> Exit {
    match command {
        args::Tool::Ls => list(printer),
        args::Tool::Show { tool } => show(&tool, printer),
        args::Tool::Check { tool } => check(&tool, printer).await,
        args::Tool::Add { directory } => add(&directory, printer).await,
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
            table.to_string()
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

fn show(text: &str, printer: &Printer) -> Exit {
    let (engine, name) = match engine_for(text, printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let tool = match engine.registry().find(&name) {
        Ok(tool) => tool,
        Err(error) => return fail_find(printer, &error),
    };
    let placement = engine.explain(&name);
    let json = || {
        let mut value = convert::spec(tool.spec());
        value["placement"] = match &placement {
            Ok(placement) => convert::placement(placement),
            Err(error) => convert::call_error(error),
        };
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
        match &placement {
            Ok(placement) => text.push_str(&format!("\n{placement}")),
            Err(error) => text.push_str(&format!("\nrefused: {}", convert::chain(error))),
        }
        text
    });
    Exit::Success
}

async fn check(text: &str, printer: &Printer) -> Exit {
    let (engine, name) = match engine_for(text, printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
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
enum AddError {
    #[error(
        "there is a tool {name} already ({place}); remove it first, \
         with `axocoatl tool rm {name}` if it is the user's"
    )]
    Exists { name: ToolName, place: String },
    #[error("{0} is a file: `tool add` takes a tool's directory, with tool.toml in it")]
    NoDirectory(PathBuf),
    #[error("{path} cannot be copied: {problem}")]
    Unusable { path: PathBuf, problem: String },
    #[error("copying to {path}; check its permissions and the space left")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

#[derive(Debug, thiserror::Error)]
#[error("removing {path}; check its permissions, or that it is a directory")]
struct RemoveError {
    path: PathBuf,
    source: io::Error,
}

/// Most files in a tool's directory.
const MAX_FILES: usize = 10_000;
/// Most bytes in a tool's directory.
const MAX_BYTES: u64 = 1 << 30;
/// Deepest directory in a tool's directory.
const MAX_DEPTH: usize = 32;

async fn add(directory: &Path, printer: &Printer) -> Exit {
    if directory.is_file() {
        let error = AddError::NoDirectory(directory.to_owned());
        return fail(printer, &error, Exit::Failed);
    }
    // A path without a slash is a directory here all the same.
    let directory = Path::new(".").join(directory);
    let (engine, name) = match engine_for(&directory.to_string_lossy(), printer) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    // A tool that needs a tier this host lacks may still be added; a broken one may not.
    if let Err(error) = engine.check(&name).await
        && !matches!(error, CallError::Denied(_))
    {
        return fail_call(&error, printer);
    }
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail_build(printer, &BuildError::from(error)),
    };
    if let Some(place) = existing(&name) {
        return fail(printer, &AddError::Exists { name, place }, Exit::Failed);
    }
    match copy_tool(&directory, &places.user_tools(), &name) {
        Ok(path) => {
            printer.result(
                || json!({ "tool": name.as_str(), "directory": path }),
                || format!("added tool {name} in {}", path.display()),
            );
            Exit::Success
        }
        Err(error) => fail(printer, &error, Exit::Failed),
    }
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

/// Copies the tool beside its place and then renames it: it is there whole, or not at all.
fn copy_tool(from: &Path, tools: &Path, name: &ToolName) -> Result<PathBuf, AddError> {
    let path = tools.join(name.as_str());
    if path.symlink_metadata().is_ok() {
        return Err(AddError::Exists {
            name: name.clone(),
            place: path.display().to_string(),
        });
    }
    // One process adds at a time. What one that was killed left here is removed first. No tool can
    // have this name, so what lies here is never found as one.
    let adding = Owner::claim(&tools.join(".adding"))?;
    let copy = adding.path().join("tool");
    let io = |source| AddError::Io {
        path: copy.clone(),
        source,
    };
    match std::fs::remove_dir_all(&copy) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let mut left = Left {
        files: MAX_FILES,
        bytes: MAX_BYTES,
    };
    copy_directory(from, &copy, MAX_DEPTH, &mut left)?;
    std::fs::rename(&copy, &path).map_err(io)?;
    Ok(path)
}

/// How much may still be copied.
struct Left {
    files: usize,
    bytes: u64,
}

fn copy_directory(from: &Path, to: &Path, depth: usize, left: &mut Left) -> Result<(), AddError> {
    let unusable = |path: &Path, problem: &str| {
        Err(AddError::Unusable {
            path: path.to_owned(),
            problem: problem.to_owned(),
        })
    };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| AddError::Io { path, source }
    };
    if depth == 0 {
        return unusable(from, "it is nested too deep");
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(to)
        .map_err(io(to))?;
    for entry in std::fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(io(&source))?;
        let Some(files) = left.files.checked_sub(1) else {
            return unusable(&source, "there are too many files");
        };
        left.files = files;
        if kind.is_dir() {
            copy_directory(&source, &target, depth - 1, left)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(io(&source))?.len();
            let Some(bytes) = left.bytes.checked_sub(size) else {
                return unusable(&source, "the files are too large");
            };
            left.bytes = bytes;
            std::fs::copy(&source, &target)
                .and_then(|_| std::fs::File::open(&target)?.sync_all())
                .map_err(io(&target))?;
        } else {
            return unusable(
                &source,
                "a tool has plain files and directories only, no links or devices",
            );
        }
    }
    Ok(())
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
                || json!({ "removed": path }),
                || format!("removed tool {name} from {}", path.display()),
            );
            Exit::Success
        }
        Err(source) => fail(printer, &RemoveError { path, source }, Exit::Failed),
    }
}
