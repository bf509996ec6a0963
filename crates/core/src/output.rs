//! What a finished tool's output is: the one reading of the I/O contract, for every tier.

use crate::{Document, DocumentError};

/// Where a tool's output is looked for; a manifest's `output` may pin one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutputMode {
    /// The file if there is one, else standard output as JSON, else as text.
    #[default]
    Auto,
    /// `/axocoatl/output.json` only.
    File,
    /// Standard output, which must be JSON.
    Json,
    /// Standard output as one JSON string.
    Text,
}

impl OutputMode {
    /// The mode's word in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => "file",
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// What a tier found at `/axocoatl/output.json` after the tool ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutputFile {
    /// Nothing.
    Absent,
    /// A regular file within the limit.
    Read(Vec<u8>),
    /// Something that is not followed or read, and why.
    Refused(String),
}

/// A tool's output, or why it has none.
#[derive(Clone, PartialEq, Debug)]
pub enum ToolOutput {
    /// The output.
    Document(Document),
    /// There is none that keeps the contract.
    Invalid(OutputProblem),
}

/// How a tool's output breaks the contract.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutputProblem {
    /// `output = "file"`, and none was written.
    #[error(
        "the tool wrote no /axocoatl/output.json, which its manifest promises (output = \"file\")"
    )]
    NoFile,
    /// The output file is a link, a device, or too large.
    #[error("/axocoatl/output.json was refused: {0}")]
    FileRefused(String),
    /// The output file is not JSON.
    #[error("/axocoatl/output.json is {0}")]
    FileNotJson(String),
    /// `output = "json"`, and standard output is something else.
    #[error("standard output is {0}; the manifest promises JSON (output = \"json\")")]
    NotJson(String),
    /// Standard output cannot be a JSON string.
    #[error("standard output is not UTF-8 (byte {at}), so it can be neither JSON nor text")]
    NotText {
        /// Offset of the first bad byte.
        at: usize,
    },
}

impl ToolOutput {
    /// Reads what a tool left, as design §5.1 says: the file if it exists, else standard output as
    /// JSON, else as text; or only what the manifest pins.
    ///
    /// The bytes come from the tool and are hostile; the tier has already capped them.
    #[must_use]
    pub fn interpret(mode: OutputMode, file: &OutputFile, stdout: &[u8]) -> Self {
        let read = match mode {
            OutputMode::File => from_file(file).unwrap_or(Err(OutputProblem::NoFile)),
            OutputMode::Json => parse(stdout).map_err(|e| OutputProblem::NotJson(e.to_string())),
            OutputMode::Text => from_text(stdout),
            OutputMode::Auto => {
                from_file(file).unwrap_or_else(|| parse(stdout).or_else(|_| from_text(stdout)))
            }
        };
        match read {
            Ok(document) => Self::Document(document),
            Err(problem) => Self::Invalid(problem),
        }
    }

    /// The output, if there is one.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        match self {
            Self::Document(document) => Some(document),
            Self::Invalid(_) => None,
        }
    }
}

fn from_file(file: &OutputFile) -> Option<Result<Document, OutputProblem>> {
    match file {
        OutputFile::Absent => None,
        OutputFile::Refused(why) => Some(Err(OutputProblem::FileRefused(why.clone()))),
        OutputFile::Read(bytes) => {
            Some(parse(bytes).map_err(|e| OutputProblem::FileNotJson(e.to_string())))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
    Document::parse(bytes, bytes.len())
}

fn from_text(stdout: &[u8]) -> Result<Document, OutputProblem> {
    std::str::from_utf8(stdout)
        .map(Document::from_text)
        .map_err(|e| OutputProblem::NotText {
            at: e.valid_up_to(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(
        mode: OutputMode,
        file: &OutputFile,
        stdout: &[u8],
    ) -> Result<serde_json::Value, OutputProblem> {
        match ToolOutput::interpret(mode, file, stdout) {
            ToolOutput::Document(document) => Ok(document.into()),
            ToolOutput::Invalid(problem) => Err(problem),
        }
    }

    #[test]
    fn the_file_wins_then_json_then_text() {
        let file = OutputFile::Read(b"{\"from\":\"file\"}".to_vec());
        let none = OutputFile::Absent;
        assert_eq!(
            read(OutputMode::Auto, &file, b"[1]"),
            Ok(json!({"from": "file"}))
        );
        assert_eq!(read(OutputMode::Auto, &none, b" [1]\n"), Ok(json!([1])));
        assert_eq!(read(OutputMode::Auto, &none, b"hi\n"), Ok(json!("hi\n")));
        assert_eq!(read(OutputMode::Text, &file, b"[1]"), Ok(json!("[1]")));
        assert_eq!(read(OutputMode::Json, &file, b"[1]"), Ok(json!([1])));
    }

    #[test]
    fn a_pinned_output_is_never_replaced_by_another() {
        let none = OutputFile::Absent;
        assert_eq!(
            read(OutputMode::File, &none, b"[1]"),
            Err(OutputProblem::NoFile)
        );
        assert!(matches!(
            read(OutputMode::Json, &none, b"hi"),
            Err(OutputProblem::NotJson(_))
        ));
        assert_eq!(
            read(OutputMode::Text, &none, b"\xff"),
            Err(OutputProblem::NotText { at: 0 })
        );
    }

    #[test]
    fn a_refused_or_broken_file_is_not_passed_over() {
        let refused = OutputFile::Refused("it is a symbolic link".into());
        assert!(matches!(
            read(OutputMode::Auto, &refused, b"[1]"),
            Err(OutputProblem::FileRefused(_))
        ));
        let broken = OutputFile::Read(b"{".to_vec());
        assert!(matches!(
            read(OutputMode::Auto, &broken, b"[1]"),
            Err(OutputProblem::FileNotJson(_))
        ));
    }
}
