//! What sessions are called.

use std::fmt;
use std::sync::Arc;

use axo_core::{NameError, ToolName};
use serde::{Deserialize, Serialize};

/// Hexadecimal digits of an id: 48 random bits, so that two of one owner never meet.
const ID_DIGITS: usize = 12;

/// The id of a session: 12 hexadecimal digits, drawn at random.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Arc<str>);

/// Why a text is no id or name of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionNameError {
    /// Not 12 hexadecimal digits.
    #[error("{0:?} is not the id of a session: 12 of 0-9 and a-f")]
    Id(String),
    /// Not a name.
    #[error("{}", of_session(.0))]
    Name(NameError),
}

impl From<NameError> for SessionNameError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// Sessions are named by the rules of tools, and are none.
fn of_session(error: &NameError) -> String {
    error
        .to_string()
        .replacen("a tool's name", "a session's name", 1)
        .replacen("csv-stats", "my-work", 1)
}

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let digits = uuid::Uuid::new_v4().simple().to_string();
        Self(Arc::from(&digits[..ID_DIGITS]))
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`SessionNameError::Id`] if it is none.
    pub fn parse(text: &str) -> Result<Self, SessionNameError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == ID_DIGITS && text.bytes().all(digit) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(SessionNameError::Id(text.chars().take(64).collect()))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its container.
    #[must_use]
    pub fn container(&self) -> String {
        format!("axo-ses-{self}")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SessionId {
    type Error = SessionNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.as_str().to_owned()
    }
}

/// The name somebody gave a session: as a tool's, `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(ToolName);

impl SessionName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`SessionNameError::Name`] if it is none.
    pub fn parse(text: &str) -> Result<Self, SessionNameError> {
        Ok(Self(ToolName::parse(text)?))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for SessionName {
    type Err = SessionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for SessionName {
    type Error = SessionNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twelve_digits_and_nothing_else() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(id.as_str()), Ok(id.clone()));
        assert!(id.container().starts_with("axo-ses-"));
        for bad in [
            "",
            "..",
            "0123456789a",
            "0123456789abc",
            "0123456789aB",
            "../../../etc",
        ] {
            assert!(SessionId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_name_is_said_to_be_a_sessions() {
        for bad in ["", "Work", &"a".repeat(64)] {
            let why = SessionName::parse(bad).unwrap_err().to_string();
            assert!(why.starts_with("a session's name "), "{why}");
            assert!(!why.contains("tool"), "{why}");
        }
    }
}
