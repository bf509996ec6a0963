//! `session cp`.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use axocoatl_isolation::one_line;
use axocoatl_isolation::sessions::{Copied, CopyLimits, FileKind, Session};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;

use super::{Failed, session};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

/// One side of a copy.
enum Side<'a> {
    Host(&'a Path),
    Session { name: &'a str, path: &'a Path },
}

pub(super) async fn run(from: &str, to: &str, printer: &Printer) -> Result<Exit, Failed> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    let mut progress = |copied: &Copied| {
        bar.set_message(format!(
            "{} files, {}",
            copied.files,
            HumanBytes(copied.bytes)
        ));
        bar.tick();
    };
    let copied = match (side(from), side(to)) {
        (Side::Host(from), Side::Session { name, path }) => {
            let session = session(name).await?;
            let files = session.files("/")?;
            let to = within(&session, path);
            // As cp and scp have it.
            let to = match files.stat(to.as_os_str().as_bytes(), false).await {
                Ok(found) if found.kind == FileKind::Directory => into(&to, from),
                _ => to,
            };
            files.copy_in(from, &to, &mut progress).await?
        }
        (Side::Session { name, path }, Side::Host(to)) => {
            let session = session(name).await?;
            let from = within(&session, path);
            let to = match to.is_dir() {
                true => into(to, &from),
                false => to.to_owned(),
            };
            session
                .files("/")?
                .copy_out(&from, &to, CopyLimits::default(), &mut progress)
                .await?
        }
        _ => {
            return Err(Failed::command_line(
                "write SESSION:PATH for one side and a path of this host for the other; \
                 ./a:b is a path of this host",
            ));
        }
    };
    bar.finish_and_clear();
    for skipped in &copied.skipped {
        printer.note(&format!(
            "left out, neither file, directory nor link: {}",
            one_line(skipped)
        ));
    }
    printer.result(
        || {
            json!({
                "files": copied.files,
                "directories": copied.directories,
                "links": copied.links,
                "bytes": copied.bytes,
                "skipped": convert::paths(&copied.skipped),
            })
        },
        || {
            format!(
                "{} files, {} directories, {} links, {}",
                copied.files,
                copied.directories,
                copied.links,
                HumanBytes(copied.bytes)
            )
        },
    );
    Ok(Exit::Success)
}

/// What stands before the first colon is a session, unless a slash comes first, as with scp.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') => Side::Session {
            name,
            path: Path::new(path),
        },
        _ => Side::Host(Path::new(text)),
    }
}

/// A place in a directory that is there, of the same name.
fn into(directory: &Path, from: &Path) -> PathBuf {
    match from.file_name() {
        Some(name) => directory.join(name),
        None => directory.to_owned(),
    }
}

/// A path of the session beneath its root: a relative one is beneath its directory.
fn within(session: &Session, path: &Path) -> PathBuf {
    let whole = Path::new(&session.record().working_directory).join(path);
    whole.strip_prefix("/").unwrap_or(&whole).to_owned()
}
