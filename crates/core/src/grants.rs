//! What a tool may touch beyond its input: hosts, host directories, variables, secrets.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Everything a tool asks for or is given. Empty is the default and means: nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// Hosts it may connect to.
    pub network: Vec<HostPort>,
    /// Environment variables.
    pub env: Vec<EnvGrant>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Host directories.
    pub mounts: Vec<Mount>,
}

impl Grants {
    /// These grants and those of `more`. Where a variable or a mount target is named twice, the last
    /// one holds.
    #[must_use]
    pub fn extended_by(mut self, more: &Self) -> Self {
        self.network.extend(more.network.iter().cloned());
        self.secrets.extend(more.secrets.iter().cloned());
        for new in &more.env {
            self.env.retain(|old| old.name != new.name);
            self.env.push(new.clone());
        }
        for new in &more.mounts {
            self.mounts.retain(|old| old.target != new.target);
            self.mounts.push(new.clone());
        }
        self
    }
}

/// A host and port, as in `api.example.com:443`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// Host name or address, in lower case.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// An environment variable: by name (the operator's value) or with a value of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvGrant {
    /// Its name.
    pub name: String,
    /// Its value; `None` takes the value it has in the host's environment.
    pub value: Option<String>,
}

/// A host directory inside the sandbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Directory on the host; relative paths are beneath the tool's own directory.
    pub source: PathBuf,
    /// Absolute path inside the sandbox.
    pub target: String,
    /// Whether the tool may change what is in it.
    pub mode: MountMode,
}

/// Whether a mount may be written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MountMode {
    /// Read only.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// Why a text is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not `HOST:PORT`.
    #[error("{0:?} is not HOST:PORT, for example \"api.example.com:443\"")]
    HostPort(String),
    /// The link-local range, where clouds serve credentials to whoever asks.
    #[error("{0:?} is a link-local (metadata) address: it is never granted")]
    Metadata(String),
    /// Not the name of a variable.
    #[error(
        "{0:?} is not the name of an environment variable: use letters, digits and '_', not starting with a digit"
    )]
    Variable(String),
    /// A variable that is part of the contract.
    #[error("{0} is set by Axocoatl itself and cannot be granted")]
    ReservedVariable(String),
    /// A value that cannot stand in an environment.
    #[error("the value of {0} has a NUL character")]
    Value(String),
    /// Not a place for a mount.
    #[error(
        "{0:?} is no place for a mount: give an absolute path without '..', not '/' or '/tmp', and not '/proc', '/sys', '/dev', '/axocoatl' or below them"
    )]
    Target(String),
    /// Not `SRC:DST[:ro|rw]`.
    #[error("{0:?} is not SRC:DST[:ro|rw], for example \"./data:/data:ro\"")]
    Mount(String),
    /// Not `ro` or `rw`.
    #[error("{0:?} is not a mount mode: write \"ro\" or \"rw\"")]
    Mode(String),
}

/// Longest part of a bad text that an error repeats, in characters.
const MAX_ECHO: usize = 80;

fn echo(text: &str) -> String {
    text.chars().take(MAX_ECHO).collect()
}

impl HostPort {
    /// Longest host name, from RFC 1035.
    const MAX_HOST: usize = 253;

    /// Reads `HOST:PORT`.
    ///
    /// # Errors
    /// [`GrantError`] if it is not one, or names a metadata address.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let bad = || GrantError::HostPort(echo(text));
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(bad)?;
        let named = !host.is_empty()
            && host.len() <= Self::MAX_HOST
            && host.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        if !named {
            return Err(bad());
        }
        // What ends in a number is an address (WHATWG URL, host parsing). Only the plain form is
        // taken, so that none can hide what it is.
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if is_number && host.parse::<Ipv4Addr>().is_err() {
            return Err(bad());
        }
        if host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_link_local())
        {
            return Err(GrantError::Metadata(echo(host)));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl EnvGrant {
    /// Variables the I/O contract sets; a grant must not change what they mean.
    const RESERVED: [&str; 4] = ["PATH", "HOME", "AXOCOATL_TOOL", "AXOCOATL_CALL_ID"];

    /// Reads `NAME` or `NAME=VALUE`.
    ///
    /// # Errors
    /// [`GrantError`] if the name or the value cannot stand in an environment.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let named = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named {
            return Err(GrantError::Variable(echo(name)));
        }
        if Self::RESERVED.contains(&name) {
            return Err(GrantError::ReservedVariable(name.to_owned()));
        }
        if value.is_some_and(|value| value.contains('\0')) {
            return Err(GrantError::Value(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        })
    }
}

impl MountMode {
    /// `ro` or `rw`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }

    /// Reads `ro` or `rw`.
    ///
    /// # Errors
    /// [`GrantError::Mode`] for anything else.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        match text {
            "ro" => Ok(Self::ReadOnly),
            "rw" => Ok(Self::ReadWrite),
            _ => Err(GrantError::Mode(echo(text))),
        }
    }
}

impl Mount {
    /// Places a mount would hide or be hidden by something of ours.
    const RESERVED: [&str; 6] = ["/", "/tmp", "/proc", "/sys", "/dev", "/axocoatl"];

    /// Places with nothing beneath them that is anybody else's.
    const OURS: [&str; 4] = ["/proc", "/sys", "/dev", "/axocoatl"];

    /// A mount of `source` at `target`.
    ///
    /// # Errors
    /// [`GrantError::Target`] if `target` is not a plain absolute path or is one of ours.
    pub fn new(
        source: impl Into<PathBuf>,
        target: &str,
        mode: MountMode,
    ) -> Result<Self, GrantError> {
        let plain = target.starts_with('/')
            && !target.ends_with('/')
            && target[1..]
                .split('/')
                .all(|part| !matches!(part, "" | "." | ".."))
            && !target.contains('\0');
        let ours = Self::OURS.iter().any(|place| {
            target
                .strip_prefix(place)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if !plain || ours || Self::RESERVED.contains(&target) {
            return Err(GrantError::Target(echo(target)));
        }
        Ok(Self {
            source: source.into(),
            target: target.to_owned(),
            mode,
        })
    }

    /// Reads `SRC:DST[:ro|rw]`; read only is the default.
    ///
    /// # Errors
    /// [`GrantError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let (paths, mode) = match text.rsplit_once(':') {
            Some((paths, "ro")) => (paths, MountMode::ReadOnly),
            Some((paths, "rw")) => (paths, MountMode::ReadWrite),
            _ => (text, MountMode::ReadOnly),
        };
        match paths.rsplit_once(':') {
            Some((source, target)) if !source.is_empty() => Self::new(source, target, mode),
            _ => Err(GrantError::Mount(echo(text))),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.source.display(),
            self.target,
            self.mode.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_address_is_never_a_grant() {
        assert_eq!(
            HostPort::parse("169.254.169.254:80"),
            Err(GrantError::Metadata("169.254.169.254".into()))
        );
        assert!(HostPort::parse("Api.Example.com:443").is_ok_and(|h| h.host == "api.example.com"));
        for bad in [
            "",
            "host",
            "host:",
            ":443",
            "host:0",
            "host:70000",
            "ho st:1",
            "a..b:1",
            "http://x:1",
            "2852039166:80",
            "0xa9fea9fe:80",
            "169.254.43518:80",
        ] {
            assert!(HostPort::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mount_cannot_hide_what_is_ours() {
        for bad in [
            "a:/",
            "a:/tmp",
            "a:/axocoatl",
            "a:/axocoatl/x",
            "a:/proc/sys",
            "a:/dev/shm",
            "a:/sys/kernel",
            "a:b",
            "a:/x/../y",
            "a:/x/",
            "/x",
            ":/x",
            "a:/x:rx",
        ] {
            assert!(Mount::parse(bad).is_err(), "{bad}");
        }
        let mount = Mount::parse("./a:b:/data:rw").unwrap();
        assert_eq!(
            (mount.source.to_str(), mount.target.as_str(), mount.mode),
            (Some("./a:b"), "/data", MountMode::ReadWrite)
        );
    }

    #[test]
    fn a_variable_of_the_contract_cannot_be_granted() {
        for bad in [
            "",
            "1A",
            "A-B",
            "=x",
            "PATH=/evil",
            "AXOCOATL_CALL_ID",
            "A=\0",
        ] {
            assert!(EnvGrant::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            EnvGrant::parse("TZ=a=b").unwrap().value.as_deref(),
            Some("a=b")
        );
    }
}
