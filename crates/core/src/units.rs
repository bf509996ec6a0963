//! Sizes and durations as people write them: always with a unit.

use std::fmt;
use std::time::Duration;

/// A number of bytes, written with a unit: `64KiB`, `128MiB`, `1GiB`, `10MB`, `512B`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Size(u64);

/// Why a text is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A size that cannot be read.
    #[error(
        "{text:?} is not a size: write a number with a unit, for example \"128MiB\" or \"64KB\""
    )]
    Size {
        /// What stood there.
        text: String,
    },
    /// A duration that cannot be read.
    #[error(
        "{text:?} is not a duration: write a number with a unit, for example \"10s\", \"250ms\" or \"1m 30s\""
    )]
    Duration {
        /// What stood there.
        text: String,
    },
    /// Zero where a ceiling must let something through.
    #[error("{text:?} is zero: a limit of nothing lets no tool run; leave it out or raise it")]
    Zero {
        /// What stood there.
        text: String,
    },
}

/// Longest text that is looked at as a size or duration, in bytes: "18446744073709551615 bytes" fits.
const MAX_UNIT_TEXT: usize = 64;

impl Size {
    /// A size of `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of `mib` binary megabytes; saturates.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, or the most this machine can address.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads a size with its unit.
    ///
    /// # Errors
    /// [`UnitError`] if the unit is missing or unknown, or the size is zero.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::Size {
            text: shorten(text),
        };
        let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
        if text.len() > MAX_UNIT_TEXT || !has_unit {
            return Err(bad());
        }
        let size = text.parse::<bytesize::ByteSize>().map_err(|_| bad())?;
        match size.as_u64() {
            0 => Err(UnitError::Zero {
                text: shorten(text),
            }),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Size {
    /// The largest binary unit that divides the size evenly, so that no digit is lost.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl std::str::FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Reads a duration with its unit: `10s`, `250ms`, `1m 30s`.
///
/// # Errors
/// [`UnitError`] if the unit is missing or unknown, or the duration is zero.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration {
        text: shorten(text),
    };
    if text.len() > MAX_UNIT_TEXT || !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(bad());
    }
    let duration = humantime::parse_duration(text).map_err(|_| bad())?;
    if duration.is_zero() {
        return Err(UnitError::Zero {
            text: shorten(text),
        });
    }
    Ok(duration)
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_UNIT_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_without_a_unit_is_refused() {
        assert_eq!(Size::parse("128MiB"), Ok(Size::from_mib(128)));
        assert_eq!(Size::parse("10 kB"), Ok(Size::from_bytes(10_000)));
        for bad in [
            "128",
            "",
            "MiB",
            "-1MiB",
            "1e400GiB",
            "12XiB",
            "0MiB",
            &"9".repeat(100),
        ] {
            assert!(Size::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["10", "", "s", "-1s", "0s", "10 parsecs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        // Beyond 2^53 the parser goes through floating point and may round.
        fn what_is_printed_is_read_back(bytes in 1u64..1 << 53) {
            prop_assert_eq!(Size::parse(&Size(bytes).to_string()), Ok(Size(bytes)));
        }
    }
}
