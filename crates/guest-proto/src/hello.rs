//! The first frame of each side.

use serde::{Deserialize, Serialize};

use crate::message::{Message, at_most};
use crate::{Kind, ProtocolError, bounds};

/// The protocol that this crate speaks. Any change of what is on the wire makes it the next one.
pub const GENERATION: u32 = 1;

/// Who speaks. Frozen for all generations.
///
/// An agent that does not speak the client's generation answers its own `Hello`, then
/// [`Reply::Failed`](crate::Reply::Failed) with [`Code::Generation`](crate::Code::Generation), and
/// closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol that it speaks.
    pub generation: u32,
    /// Its version, for people.
    pub version: String,
}

impl Hello {
    /// The hello of a program of this generation, with its version.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut version = version.to_owned();
        version.truncate(version.floor_char_boundary(bounds::MAX_VERSION_BYTES));
        Self {
            generation: GENERATION,
            version,
        }
    }
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;

    fn check(&self) -> Result<(), ProtocolError> {
        at_most("version", self.version.len(), bounds::MAX_VERSION_BYTES)
    }
}
