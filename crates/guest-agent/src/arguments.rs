//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str =
    "usage: axo-guest-agent serve --socket PATH | --fd NUMBER [--idle SECONDS] [--total SECONDS]
       axo-guest-agent bridge --socket PATH
       axo-guest-agent probe NONCE
       axo-guest-agent --version";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Answer on a socket.
    Serve(Serve),
    /// Connect standard input and output with a socket.
    Bridge { socket: PathBuf },
    /// Write a line: a version, or the nonce of a host that asks whether programs run here.
    Say(String),
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Serve {
    /// Where.
    pub(crate) listen: Listen,
    /// Ends when no connection was open for this long.
    pub(crate) idle: Option<Duration>,
    /// Ends at this age.
    pub(crate) total: Option<Duration>,
}

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On a socket to be made.
    Path(PathBuf),
    /// On one that whoever started us made, at this descriptor.
    Descriptor(RawFd),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Descriptor(number) => write!(f, "descriptor {number}"),
        }
    }
}

impl Command {
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut words = arguments;
        let verb = words.next().and_then(|word| word.into_string().ok());
        match verb.as_deref() {
            Some("--version") => Ok(Self::Say(version().to_owned())),
            Some("probe") => match (words.next().map(OsString::into_string), words.next()) {
                (Some(Ok(nonce)), None) => Ok(Self::Say(nonce)),
                _ => Err(USAGE.into()),
            },
            Some("serve") => options(words).map(Self::Serve),
            Some("bridge") => match options(words)? {
                Serve {
                    listen: Listen::Path(socket),
                    idle: None,
                    total: None,
                } => Ok(Self::Bridge { socket }),
                _ => Err(USAGE.into()),
            },
            _ => Err(USAGE.into()),
        }
    }
}

fn options(mut words: impl Iterator<Item = OsString>) -> Result<Serve, String> {
    let (mut listen, mut idle, mut total) = (None, None, None);
    while let Some(name) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match name.to_str() {
            Some("--socket") if !value.is_empty() => listen = Some(Listen::Path(value.into())),
            Some("--fd") => listen = Some(Listen::Descriptor(descriptor(&value)?)),
            Some("--idle") => idle = Some(seconds(&value)?),
            Some("--total") => total = Some(seconds(&value)?),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(Serve {
        listen: listen.ok_or(USAGE)?,
        idle,
        total,
    })
}

/// Not one of the streams.
fn descriptor(value: &OsString) -> Result<RawFd, String> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number > 2)
        .ok_or_else(|| format!("{}: not a descriptor\n{USAGE}", value.display()))
}

fn seconds(value: &OsString) -> Result<Duration, String> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{}: not a number of seconds\n{USAGE}", value.display()))
}

pub(crate) const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_is_read_or_refused() {
        assert_eq!(
            parse("serve --socket /run/a.sock --idle 60").unwrap(),
            Command::Serve(Serve {
                listen: Listen::Path("/run/a.sock".into()),
                idle: Some(Duration::from_secs(60)),
                total: None
            })
        );
        assert_eq!(
            parse("serve --fd 3").unwrap(),
            Command::Serve(Serve {
                listen: Listen::Descriptor(3),
                idle: None,
                total: None
            })
        );
        assert_eq!(parse("probe abc").unwrap(), Command::Say("abc".into()));
        for wrong in [
            "",
            "serve",
            "serve --socket",
            "probe",
            "probe a b",
            "bridge --socket s --idle 1",
            "serve --socket s --idle 0",
            "serve --idle 1",
            "serve --fd 2",
            "serve --fd x",
            "bridge --fd 3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
