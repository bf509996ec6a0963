//! `image ls` and `image show`: what is in the store.

use axocoatl_isolation::images::Image;
use comfy_table::{Table, presets};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Failed, existing_store, not_found};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

/// Digits of a digest in a list: as many as name an image.
const SHORT_DIGEST: usize = 12;
/// Longest date in a list, in bytes: RFC 3339 with nanoseconds and an offset.
const MAX_DATE: usize = 35;

pub(super) fn list(printer: &Printer) -> Result<Exit, Failed> {
    let images = match existing_store()? {
        Some(store) => store.list()?,
        None => Vec::new(),
    };
    printer.result(
        || json!({ "images": images.iter().map(convert::image).collect::<Vec<_>>() }),
        || {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_header(["NAME", "DIGEST", "SIZE", "BUILT"]);
            for image in &images {
                add_rows(&mut table, image);
            }
            table.trim_fmt()
        },
    );
    Ok(Exit::Success)
}

/// A row for each name; one for an image without.
fn add_rows(table: &mut Table, image: &Image) {
    let names: Vec<&str> = match image.references.as_slice() {
        [] => vec!["-"],
        names => names.iter().map(String::as_str).collect(),
    };
    for name in names {
        table.add_row([
            name,
            short(&image.digest),
            &HumanBytes(image.size).to_string(),
            date(image).unwrap_or("-"),
        ]);
    }
}

fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..SHORT_DIGEST).unwrap_or(hex)
}

/// When the image was built, as it says. It may say anything; a list shows only what has the
/// characters of a date, so that none can pretend to be several lines.
fn date(image: &Image) -> Option<&str> {
    let text = image.created.as_deref()?;
    let plain = |c: char| c.is_ascii_digit() || "TZ:.+-".contains(c);
    (text.len() <= MAX_DATE && text.chars().all(plain)).then_some(text)
}

pub(super) fn show(reference: &str, printer: &Printer) -> Result<Exit, Failed> {
    let Some(store) = existing_store()? else {
        return Err(not_found(reference).into());
    };
    let image = store.find(reference)?;
    let mut value = convert::image(&image);
    value["unpacked"] = json!(store.is_unpacked(&image));
    printer.result(|| value.clone(), || lines(&value));
    Ok(Exit::Success)
}

/// A line for each thing that is said. Texts of the image are JSON strings, so that none can
/// pretend to be several lines.
fn lines(image: &Value) -> String {
    let mut text = String::new();
    for (key, value) in image.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(parts) => {
                for part in parts {
                    text.push_str(&format!("{key:<14} {part}\n"));
                }
            }
            Value::Object(parts) => {
                for (name, part) in parts {
                    text.push_str(&format!("{key:<14} {}={part}\n", json!(name)));
                }
            }
            other => text.push_str(&format!("{key:<14} {other}\n")),
        }
    }
    text
}
