//! Messages: postcard, and checked.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Kind, bounds, encode};

/// Why bytes are no frame or message of ours.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A frame is empty, or longer than [`MAX_PAYLOAD`](crate::MAX_PAYLOAD).
    #[error("a frame of {0} bytes")]
    Length(u64),
    /// A frame of a kind that nobody knows.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// Bytes that are not a message.
    #[error("a malformed message")]
    Malformed(#[from] postcard::Error),
    /// A message, and more.
    #[error("a message with {0} bytes after it")]
    Trailing(usize),
    /// A part of a message is larger than it may be.
    #[error("{what} of {size}, where {limit} is the most")]
    Bound {
        /// Which part.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A part of a message is not what it has to be.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Something that fills one frame. None of these types contains itself, so parsing is not deep.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind of its frame.
    const KIND: Kind;

    /// Whether its parts are as large as they may be.
    ///
    /// # Errors
    /// [`ProtocolError::Bound`] and [`ProtocolError::Invalid`].
    fn check(&self) -> Result<(), ProtocolError>;

    /// Its frame.
    ///
    /// # Errors
    /// [`ProtocolError`] if it is larger than it may be.
    fn to_frame(&self) -> Result<Vec<u8>, ProtocolError> {
        self.check()?;
        encode(Self::KIND, &postcard::to_stdvec(self)?)
    }

    /// The message of a payload.
    ///
    /// # Errors
    /// [`ProtocolError`] if it is not exactly one, within its bounds.
    fn from_payload(payload: &[u8]) -> Result<Self, ProtocolError> {
        let (message, rest) = postcard::take_from_bytes::<Self>(payload)?;
        if !rest.is_empty() {
            return Err(ProtocolError::Trailing(rest.len()));
        }
        message.check()?;
        Ok(message)
    }
}

pub(crate) fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), ProtocolError> {
    if size > limit {
        return Err(ProtocolError::Bound { what, size, limit });
    }
    Ok(())
}

/// A path as the kernel takes it.
pub(crate) fn path(path: &[u8]) -> Result<(), ProtocolError> {
    at_most("path", path.len(), bounds::MAX_PATH_BYTES)?;
    no_nul(path)
}

pub(crate) fn no_nul(bytes: &[u8]) -> Result<(), ProtocolError> {
    if bytes.contains(&0) {
        return Err(ProtocolError::Invalid("a string with a NUL in it"));
    }
    Ok(())
}
