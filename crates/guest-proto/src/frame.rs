//! Frames: a checked length, a kind, a payload.

use crate::ProtocolError;

/// Most bytes of a payload.
pub const MAX_PAYLOAD: usize = 256 << 10;

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 5;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`Hello`](crate::Hello). The first frame of each side, and only that.
    Hello = 0,
    /// A message: the first of the client a [`Request`](crate::Request), the rest
    /// [`Steering`](crate::Steering); of the agent [`Reply`](crate::Reply).
    Control = 1,
    /// From the client: bytes for standard input, or for a file. An empty one is their end.
    Input = 2,
    /// From the agent: bytes of standard output, of a terminal, or of a file.
    Output = 3,
    /// From the agent: bytes of standard error.
    Error = 4,
}

impl TryFrom<u8> for Kind {
    type Error = ProtocolError;

    fn try_from(byte: u8) -> Result<Self, ProtocolError> {
        Ok(match byte {
            0 => Self::Hello,
            1 => Self::Control,
            2 => Self::Input,
            3 => Self::Output,
            4 => Self::Error,
            other => return Err(ProtocolError::UnknownKind(other)),
        })
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Its length in bytes, at most [`MAX_PAYLOAD`].
    pub length: usize,
}

impl Header {
    /// Reads a header. Memory for the payload may be taken afterwards.
    ///
    /// # Errors
    /// [`ProtocolError::Length`] and [`ProtocolError::UnknownKind`].
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, ProtocolError> {
        let [a, b, c, d, kind] = bytes;
        let total = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(total)
            .ok()
            .and_then(|total| total.checked_sub(1))
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or(ProtocolError::Length(total.into()))?;
        Ok(Self {
            kind: kind.try_into()?,
            length,
        })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Length`].
    pub fn to_bytes(self) -> Result<[u8; HEADER_BYTES], ProtocolError> {
        let total = u32::try_from(self.length + 1)
            .ok()
            .filter(|_| self.length <= MAX_PAYLOAD)
            .ok_or(ProtocolError::Length(self.length as u64))?;
        let [a, b, c, d] = total.to_be_bytes();
        Ok([a, b, c, d, self.kind as u8])
    }
}

/// A frame of a payload.
///
/// # Errors
/// [`ProtocolError::Length`] if the payload is longer than [`MAX_PAYLOAD`].
pub fn encode(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let header = Header {
        kind,
        length: payload.len(),
    };
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&header.to_bytes()?);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// A frame within a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What its payload is.
    pub kind: Kind,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of a buffer and what follows it; `None` as long as it is not whole.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ProtocolError> {
        let Some((header, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let Header { kind, length } = Header::parse(*header)?;
        Ok(rest
            .split_at_checked(length)
            .map(|(payload, rest)| (Self { kind, payload }, rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_is_refused_before_anything_is_read() {
        for length in [0, (256 << 10) + 2, u32::MAX] {
            let mut bytes = [0; HEADER_BYTES];
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            assert!(matches!(
                Header::parse(bytes),
                Err(ProtocolError::Length(told)) if told == u64::from(length)
            ));
        }
    }

    #[test]
    fn the_longest_payload_is_framed_and_a_longer_one_is_not() {
        let longest = vec![7; MAX_PAYLOAD];
        let frame = encode(Kind::Output, &longest).unwrap();
        let (split, rest) = Frame::split(&frame).unwrap().unwrap();
        assert_eq!((split.kind, split.payload), (Kind::Output, &longest[..]));
        assert!(rest.is_empty());
        assert!(Frame::split(&frame[..frame.len() - 1]).unwrap().is_none());
        assert!(encode(Kind::Output, &vec![7; MAX_PAYLOAD + 1]).is_err());
    }

    #[test]
    fn a_kind_that_nobody_knows_is_refused() {
        assert!(matches!(
            Header::parse([0, 0, 0, 1, 5]),
            Err(ProtocolError::UnknownKind(5))
        ));
    }
}
