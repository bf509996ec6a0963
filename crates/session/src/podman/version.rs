//! Versions of podman.

use std::fmt;

/// A version of podman, `4.3.1`. What a distribution adds (`-rhel`, `+ds1`, `-dev`) is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Generation.
    pub major: u32,
    /// Release.
    pub minor: u32,
    /// Correction.
    pub patch: u32,
}

impl Version {
    /// The oldest that can do what sessions ask: `--rootfs DIR:O` and `rm --time` came in late 2021
    /// and are in every release from 4.0 on (podman's pull requests 11170 and 11763).
    pub const OLDEST: Self = Self {
        major: 4,
        minor: 0,
        patch: 0,
    };

    /// Reads the answer of `podman --version`, `podman version 4.3.1`.
    pub(crate) fn of_answer(answer: &str) -> Option<Self> {
        Self::parse(answer.lines().next()?.split_whitespace().next_back()?)
    }

    /// Reads `4.3.1`, `5.0.0-dev` or `4.9.4-rhel`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let mut numbers = text[..end.unwrap_or(text.len())].split('.');
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            major: next()?,
            minor: next()?,
            patch: next().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_podman_says_of_itself_is_read() {
        let read = |text| Version::of_answer(text).map(|version| version.to_string());
        assert_eq!(read("podman version 4.3.1\n").as_deref(), Some("4.3.1"));
        assert_eq!(read("podman version 5.0.0-dev").as_deref(), Some("5.0.0"));
        assert_eq!(
            read("podman version 4.9.4-rhel\nmore").as_deref(),
            Some("4.9.4")
        );
        assert_eq!(read("podman.exe version 6.1+ds1").as_deref(), Some("6.1.0"));
        for bad in [
            "",
            "podman",
            "podman version",
            "podman version x.y",
            "99999999999.1.1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn ubuntu_22_04_is_too_old_and_debian_12_is_not() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("3.4.4") < Version::OLDEST);
        assert!(version("4.3.1") > Version::OLDEST);
        assert!(version("10.0.0") > version("9.9.9"));
    }
}
