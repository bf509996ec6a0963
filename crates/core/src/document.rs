//! One JSON document: a tool's input or output, checked once and kept to the letter.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Largest input of a call, in bytes. A tool's output has its own limit, [`crate::LimitKind::Output`].
pub const MAX_INPUT_BYTES: usize = 64 << 20;

/// Deepest nesting of arrays and objects: the limit of `serde_json`'s parser, which recurses.
pub const MAX_DEPTH: usize = 127;

/// A JSON document.
///
/// It keeps both the text, so that it passes to and from a tool unchanged (the order of keys, and
/// numbers beyond what a 64-bit float holds), and the parsed value, so that it is checked without
/// being parsed again.
#[derive(Clone, PartialEq)]
pub struct Document {
    text: Arc<str>,
    value: Value,
}

/// Why bytes are not a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than allowed.
    #[error("the JSON has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the JSON is not UTF-8: byte {at} is not part of a character")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Not JSON, or nested deeper than [`MAX_DEPTH`].
    #[error("not valid JSON (at most {MAX_DEPTH} levels deep): {0}")]
    NotJson(serde_json::Error),
}

impl Document {
    /// Reads one JSON document of at most `limit` bytes; white space around it is dropped.
    ///
    /// # Errors
    /// [`DocumentError`] says what is wrong and where. Time and memory are linear in `bytes`.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, DocumentError> {
        if bytes.len() > limit {
            return Err(DocumentError::TooLarge { limit });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| DocumentError::NotUtf8 {
                at: e.valid_up_to(),
            })?
            .trim_matches([' ', '\t', '\r', '\n']);
        let value = serde_json::from_str(text).map_err(DocumentError::NotJson)?;
        Ok(Self {
            text: Arc::from(text),
            value,
        })
    }

    /// The document that is `text` as one JSON string.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::from(Value::String(text.to_owned()))
    }

    /// The document as it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The document as a value. Numbers beyond 64 bits are rounded here, not in [`Self::text`].
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self {
            text: Arc::from(value.to_string()),
            value,
        }
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Self {
        document.value
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn big_numbers_and_key_order_pass_unchanged() {
        let text = r#"{"z": 123456789012345678901234567890, "a": 1.10}"#;
        assert_eq!(
            &**Document::parse(text.as_bytes(), 100).unwrap().text(),
            text
        );
    }

    #[test]
    fn too_deep_too_long_and_malformed_are_errors() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Document::parse(deep(MAX_DEPTH).as_bytes(), 1 << 20).is_ok());
        assert!(Document::parse(deep(MAX_DEPTH + 1).as_bytes(), 1 << 20).is_err());
        assert!(Document::parse("[".repeat(1 << 20).as_bytes(), 1 << 21).is_err());
        assert!(matches!(
            Document::parse(b"[1]", 2),
            Err(DocumentError::TooLarge { limit: 2 })
        ));
        assert!(matches!(
            Document::parse(b"\"\xff\"", 9),
            Err(DocumentError::NotUtf8 { at: 1 })
        ));
        for bad in [
            "",
            "{",
            "{} {}",
            "nul",
            "{\"a\":}",
            "'a'",
            "\"\u{1}\"",
            "1e999",
        ] {
            assert!(Document::parse(bad.as_bytes(), 100).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(document) = Document::parse(&bytes, 100) {
                prop_assert!(bytes.len() <= 100);
                prop_assert_eq!(&serde_json::from_str::<Value>(document.text()).unwrap(), document.value());
            }
        }
    }
}
