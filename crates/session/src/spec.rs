//! What somebody asks for when they create a session.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axo_core::{CpuShare, Size};
use serde::{Deserialize, Serialize};

use crate::SessionName;

/// A session as it is asked for. [`crate::admit`] decides whether it may be.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionSpec {
    /// What to call it; its id if nothing else.
    pub name: Option<SessionName>,
    /// The image: a reference or a digest, in the store or trusted by the policy.
    pub image: String,
    /// What it lives in.
    pub tier: SessionTier,
    /// A directory of the host, mounted writable at its own path: where the work is. In a machine, a
    /// copy of it: see [`crate::Session::sync`].
    pub directory: Option<PathBuf>,
    /// How much its processes may do.
    pub profile: Profile,
    /// What they reach.
    pub network: Network,
    /// Ports published on this host's loopback address; they need [`Network::Bridge`].
    pub ports: Vec<PublishedPort>,
    /// What they may use.
    pub limits: SessionLimits,
    /// Variables of every process, beside the image's.
    pub environment: BTreeMap<String, String>,
    /// The asker's own notes.
    pub labels: BTreeMap<String, String>,
    /// Commands of the project to run once, each by `/bin/sh -c`.
    pub setup: Vec<String>,
}

impl SessionSpec {
    /// A session of `image` with defaults for everything else.
    #[must_use]
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            name: None,
            image: image.into(),
            tier: SessionTier::Podman,
            directory: None,
            profile: Profile::Locked,
            network: Network::None,
            ports: Vec::new(),
            limits: SessionLimits::default(),
            environment: BTreeMap::new(),
            labels: BTreeMap::new(),
            setup: Vec::new(),
        }
    }
}

/// What a session lives in, and so what keeps it from the host.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionTier {
    /// A container of podman's.
    #[default]
    Podman,
    /// A container in a microVM of its own.
    MicroVm,
}

/// How much a session's processes may do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// No capabilities, root file system read-only.
    #[default]
    Locked,
    /// The capabilities package managers need, root file system writable.
    Dev,
}

/// What a session's processes reach.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Their own loopback interface.
    #[default]
    None,
    /// Whatever the host reaches, through podman's network.
    Bridge,
}

/// A port of the session that is published on 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PublishedPort {
    /// On this host.
    pub host: u16,
    /// In the session.
    pub session: u16,
}

/// Ceilings on a session. Each is enforced, or the session is refused.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SessionLimits {
    /// Share of processor time. Default: two cores.
    pub cpu: CpuShare,
    /// Memory of all its processes, their retained output and its scratch space. Default: 2 GiB.
    pub memory: Size,
    /// Processes and threads. Default: 512.
    pub pids: u32,
    /// Open descriptors of a process. Default: 1024.
    pub files: u32,
    /// Each of `/tmp`, `/run`, `/var/tmp` and `/dev/shm`, which are in memory. Default: 256 MiB.
    pub scratch: Size,
    /// How long it may go without a client. Default: one hour.
    pub idle: Duration,
    /// How long it may live. Default: a day.
    pub total: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            // In range by definition; one core would do as well.
            cpu: CpuShare::from_cores(2.0).unwrap_or(CpuShare::ONE),
            memory: Size::from_mib(2048),
            pids: 512,
            files: 1024,
            scratch: Size::from_mib(256),
            idle: Duration::from_secs(3600),
            total: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why a text is not a port, profile or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a port.
    #[error(
        "{0:?} is not a port to publish: write HOST:SESSION or one number for both, 1 to 65535"
    )]
    Port(String),
    /// Not a profile.
    #[error("{0:?} is not a profile: write locked or dev")]
    Profile(String),
    /// Not a tier.
    #[error("{0:?} is not what a session lives in: write podman or microvm")]
    Tier(String),
    /// Not a network.
    #[error("{0:?} is not a network: write none or bridge")]
    Network(String),
}

impl PublishedPort {
    /// Where it is reached on this host.
    #[must_use]
    pub const fn address(self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.host)
    }
}

impl FromStr for PublishedPort {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = || SpecError::Port(text.chars().take(64).collect());
        let number = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 && !digits.starts_with('+') => Ok(port),
            _ => Err(bad()),
        };
        let (host, session) = text.split_once(':').unwrap_or((text, text));
        Ok(Self {
            host: number(host)?,
            session: number(session)?,
        })
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address(), self.session)
    }
}

impl SessionTier {
    /// As text, as records and `--json` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::MicroVm => "microvm",
        }
    }
}

impl FromStr for SessionTier {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "podman" => Ok(Self::Podman),
            "microvm" => Ok(Self::MicroVm),
            _ => Err(SpecError::Tier(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for SessionTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "locked" => Ok(Self::Locked),
            "dev" => Ok(Self::Dev),
            _ => Err(SpecError::Profile(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => "locked",
            Self::Dev => "dev",
        })
    }
}

impl FromStr for Network {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "none" => Ok(Self::None),
            "bridge" => Ok(Self::Bridge),
            _ => Err(SpecError::Network(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Bridge => "bridge",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_number_or_two() {
        let port = |host, session| Ok(PublishedPort { host, session });
        assert_eq!("8080:80".parse(), port(8080, 80));
        assert_eq!("8080".parse(), port(8080, 8080));
        for bad in [
            "",
            "0",
            "80:0",
            "65536",
            "a",
            "80:80:80",
            "0.0.0.0:80:80",
            "+80",
            "-1",
        ] {
            assert!(bad.parse::<PublishedPort>().is_err(), "{bad}");
        }
        assert_eq!(
            PublishedPort {
                host: 8080,
                session: 80
            }
            .to_string(),
            "127.0.0.1:8080:80"
        );
    }
}
