//! `image rm` and `image gc`: space becomes free.

use axocoatl_isolation::images::{Garbage, GarbageKind, ImageError, Removed};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Failed, existing_store, not_found};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

/// Removes each; one that cannot be removed does not keep the others.
pub(super) fn images(references: &[String], printer: &Printer) -> Result<Exit, Failed> {
    let store = existing_store()?;
    let (mut done, mut failed): (Vec<Removed>, Vec<(&str, ImageError)>) = Default::default();
    for reference in references {
        let result = match &store {
            Some(store) => store.remove(reference),
            None => Err(not_found(reference)),
        };
        match result {
            Ok(removed) => done.push(removed),
            Err(error) => failed.push((reference, error)),
        }
    }
    // The only one, or the first of several.
    let exit = failed
        .first()
        .map_or(Exit::Success, |(_, error)| Exit::from(error));
    if let ([], [(_, _)]) = (done.as_slice(), failed.as_slice())
        && let Some((_, error)) = failed.pop()
    {
        return Err(error.into());
    }
    for (_, error) in &failed {
        printer.problem(error);
    }
    let text = || done.iter().map(line).collect::<Vec<_>>().join("\n");
    if printer.is_json() || !done.is_empty() {
        printer.result(|| wire(&done, &failed), text);
    }
    Ok(exit)
}

fn line(removed: &Removed) -> String {
    let names = removed.references.join(", ");
    let Removed { digest, bytes, .. } = removed;
    match (removed.image, names.is_empty()) {
        (true, true) => format!("removed image {digest} ({} free)", HumanBytes(*bytes)),
        (true, false) => {
            format!(
                "removed {names}, image {digest} ({} free)",
                HumanBytes(*bytes)
            )
        }
        (false, _) => format!("removed {names}; image {digest} has other names"),
    }
}

fn wire(done: &[Removed], failed: &[(&str, ImageError)]) -> Value {
    let removed = |removed: &Removed| {
        json!({
            "digest": removed.digest,
            "references": removed.references,
            "image": removed.image,
            "bytes": removed.bytes,
        })
    };
    let error = |(reference, error): &(&str, ImageError)| {
        let mut value = convert::error(error, Exit::from(error))["error"].take();
        value["reference"] = json!(reference);
        value
    };
    json!({
        "removed": done.iter().map(removed).collect::<Vec<_>>(),
        "failed": failed.iter().map(error).collect::<Vec<_>>(),
    })
}

pub(super) fn garbage(dry_run: bool, printer: &Printer) -> Result<Exit, Failed> {
    let garbage = match existing_store()? {
        Some(store) => store.gc(dry_run)?,
        None => Garbage::default(),
    };
    let verb = if dry_run { "would remove" } else { "removed" };
    let bytes = HumanBytes(garbage.bytes());
    printer.result(
        || {
            let item = |item: &axocoatl_isolation::images::GarbageItem| {
                json!({ "kind": kind(item.kind), "path": convert::path(&item.path), "bytes": item.bytes })
            };
            json!({
                "dry_run": dry_run,
                "bytes": garbage.bytes(),
                "removed": garbage.items.iter().map(item).collect::<Vec<_>>(),
            })
        },
        || {
            let mut text = format!("{verb} {} things, {bytes}", garbage.items.len());
            for item in &garbage.items {
                let (kind, path) = (kind(item.kind), item.path.display());
                text.push_str(&format!("\n{verb} {kind} {path}"));
            }
            text
        },
    );
    Ok(Exit::Success)
}

fn kind(kind: GarbageKind) -> &'static str {
    match kind {
        GarbageKind::Blob => "blob",
        GarbageKind::Partial => "partial download",
        GarbageKind::Rootfs => "root file system",
        GarbageKind::Staging => "leftover",
    }
}
