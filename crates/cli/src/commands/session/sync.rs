//! `session sync`.

use std::path::{Path, PathBuf};

use axocoatl_isolation::sessions::{SyncOptions, Synced};
use serde_json::json;

use super::{Failed, session};
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
            skipped.display()
        ));
    }
    for unread in &synced.unread {
        printer.note(&format!(
            "not brought back, it cannot be read in the session, or is too large or too deep: {}; `chmod u+rwX` it there, or `axocoatl session cp` it",
            unread.display()
        ));
    }
    if !synced.left.is_empty() {
        printer.note(&format!(
            "{} are not in the session any more and stay here; --delete removes them",
            synced.left.len()
        ));
    }
    printer.result(
        || {
            json!({
                "written": shown(&synced.written),
                "removed": shown(&synced.removed),
                "left": shown(&synced.left),
                "skipped": shown(&synced.skipped),
                "unread": shown(&synced.unread),
                "dry_run": options.dry_run,
            })
        },
        || text(&synced),
    );
    Ok(Exit::Success)
}

/// A line for each, with a letter that `--help` explains.
fn text(synced: &Synced) -> String {
    let lines = |mark: &str, paths: &[PathBuf]| -> Vec<String> {
        let line = |path: &PathBuf| format!("{mark} {}", path.display());
        paths.iter().map(line).collect()
    };
    let all = [
        lines("M", &synced.written),
        lines("D", &synced.removed),
        lines("!", &synced.left),
        lines("?", &synced.unread),
    ];
    match synced.is_nothing() {
        true => "nothing to bring back".to_owned(),
        false => all.concat().join("\n"),
    }
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    paths.iter().map(|path| text(path)).collect()
}
