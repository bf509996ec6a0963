//! `session sync`.

use std::path::PathBuf;

use axocoatl_isolation::one_line;
use axocoatl_isolation::sessions::{SyncOptions, Synced};
use serde_json::json;

use super::{Failed, session};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(
    name: &str,
    options: SyncOptions,
    printer: &Printer,
) -> Result<Exit, Failed> {
    let synced = session(name).await?.sync(options).await?;
    for skipped in &synced.skipped {
        printer.note(&format!(
            "left out, neither file, directory nor link: {}",
            one_line(skipped)
        ));
    }
    for unread in &synced.unread {
        printer.note(&format!(
            "not brought back, it cannot be read in the session, or is too large or too deep: {}; `chmod u+rwX` it there, or `axocoatl session cp` it",
            one_line(unread)
        ));
    }
    if !synced.left.is_empty() {
        printer.note(&format!(
            "{} are not in the session any more and stay here; --delete removes them",
            synced.left.len()
        ));
    }
    if !synced.both.is_empty() {
        printer.note(&format!(
            "nothing would be written: {} changed on both sides; save those of this host and use --force, or `axocoatl session cp` single files",
            synced.both.len()
        ));
    }
    if !synced.in_the_way.is_empty() {
        printer.note(&format!(
            "nothing would be written: the session has something else in the place of {} directories of this host; --delete removes them",
            synced.in_the_way.len()
        ));
    }
    printer.result(
        || {
            json!({
                "written": convert::paths(&synced.written),
                "removed": convert::paths(&synced.removed),
                "left": convert::paths(&synced.left),
                "skipped": convert::paths(&synced.skipped),
                "unread": convert::paths(&synced.unread),
                "both": convert::paths(&synced.both),
                "in_the_way": convert::paths(&synced.in_the_way),
                "dry_run": options.dry_run,
            })
        },
        || text(&synced),
    );
    Ok(match synced.is_refused() {
        true => Exit::Unwell,
        false => Exit::Success,
    })
}

/// A line for each, with a letter that `--help` explains.
fn text(synced: &Synced) -> String {
    let lines = |mark: &str, paths: &[PathBuf]| -> Vec<String> {
        let line = |path: &PathBuf| format!("{mark} {}", one_line(path));
        paths.iter().map(line).collect()
    };
    let all = [
        lines("M", &synced.written),
        lines("D", &synced.removed),
        lines("!", &synced.left),
        lines("?", &synced.unread),
        lines("C", &synced.both),
        lines("X", &synced.in_the_way),
    ];
    match synced.is_nothing() {
        true => "nothing to bring back".to_owned(),
        false => all.concat().join("\n"),
    }
}
