//! Where the input of a call comes from.

use std::io::{IsTerminal as _, Read as _};

use axocoatl_isolation::{Document, DocumentError, MAX_INPUT_BYTES};

use crate::args;

#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error(
        "there is no input: pass --input JSON or --input-file FILE, or pipe it in; `--input null` for a tool that takes none"
    )]
    None,
    #[error("reading the input from {from}")]
    Unreadable {
        from: String,
        source: std::io::Error,
    },
    #[error("the input from {from} cannot be used")]
    Bad { from: String, source: DocumentError },
}

/// The input that the command line names, or standard input has. An image may be run without one.
pub(super) fn read(arguments: &args::Run) -> Result<Document, InputError> {
    let none = || match arguments.image {
        Some(_) => Ok(Document::from(serde_json::Value::Null)),
        None => Err(InputError::None),
    };
    if let Some(text) = &arguments.input {
        return parse("--input", text.as_bytes());
    }
    let (from, bytes) = match &arguments.input_file {
        Some(path) => {
            let from = path.display().to_string();
            (from, std::fs::File::open(path).and_then(read_capped))
        }
        None if std::io::stdin().is_terminal() => return none(),
        None => (
            "standard input".to_owned(),
            read_capped(std::io::stdin().lock()),
        ),
    };
    let bytes = bytes.map_err(|source| InputError::Unreadable {
        from: from.clone(),
        source,
    })?;
    if bytes.is_empty() {
        return none();
    }
    parse(&from, &bytes)
}

fn parse(from: &str, bytes: &[u8]) -> Result<Document, InputError> {
    Document::parse(bytes, MAX_INPUT_BYTES).map_err(|source| InputError::Bad {
        from: from.to_owned(),
        source,
    })
}

fn read_capped(stream: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that there being more is seen.
    stream
        .take(MAX_INPUT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
