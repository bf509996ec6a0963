//! Names of tools: validated once, before any of them reaches a path, a log or a container id.

use std::fmt;
use std::sync::Arc;

/// Longest name of a tool, in bytes. Together with a prefix and a UUID it still fits a host name
/// label and a cgroup directory.
const MAX_NAME_BYTES: usize = 63;

/// The name of a tool: `[a-z0-9][a-z0-9_-]{0,62}`.
///
/// No such name can be `.`, `..`, an option, a path or a terminal escape, so it may be used as a
/// file name and printed as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(Arc<str>);

/// Why a text is not the name of a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a tool's name is empty: give it 1 to {MAX_NAME_BYTES} of a-z, 0-9, '_' and '-'")]
    Empty,
    /// The text is longer than 63 bytes.
    #[error("a tool's name has {length} bytes: at most {MAX_NAME_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The text has a character that names cannot have, or starts with `_` or `-`.
    #[error(
        "a tool's name has {found:?} at byte {at}: names match [a-z0-9][a-z0-9_-]*, \
         for example \"csv-stats\""
    )]
    BadCharacter {
        /// The first offending character.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
}

impl ToolName {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong; it never repeats more of `text` than one character.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong { length: text.len() });
        }
        for (at, found) in text.char_indices() {
            let allowed = match found {
                'a'..='z' | '0'..='9' => true,
                '_' | '-' => at > 0,
                _ => false,
            };
            if !allowed {
                return Err(NameError::BadCharacter { found, at });
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for ToolName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_reach_a_path_are_refused() {
        let giant = "a".repeat(1 << 20);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/a",
            "-rf",
            "_a",
            "a\0b",
            "A",
            "ä",
            "a b",
            "a\n",
            "\u{202e}a",
            "a.b",
            "~",
            giant.as_str(),
        ] {
            assert!(
                ToolName::parse(bad).is_err(),
                "{:?}",
                &bad[..bad.len().min(20)]
            );
        }
        for good in ["a", "0", "csv-stats", "a_b-c", &"a".repeat(63)] {
            assert_eq!(ToolName::parse(good).unwrap().as_str(), good);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_one_plain_path_component(text in "\\PC{0,80}|[a-z0-9_./\\x00-]{0,80}") {
            if let Ok(name) = ToolName::parse(&text) {
                let name = name.as_str();
                let mut components = std::path::Path::new(name).components();
                prop_assert!(matches!(components.next(), Some(std::path::Component::Normal(c)) if c == name));
                prop_assert!(components.next().is_none());
                prop_assert!(!name.starts_with('-') && !name.contains(|c: char| c.is_control()));
                prop_assert!((1..=63).contains(&name.len()));
            }
        }
    }
}
