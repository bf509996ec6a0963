//! The command line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::idle::Times;
use crate::tool::Site;

const USAGE: &str =
    "usage: axo-guest-agent serve --socket PATH | --fd NUMBER [--idle SECONDS] [--total SECONDS]
                             [--runner PATH --image DIRECTORY [--files DIRECTORY]]
       axo-guest-agent init
       axo-guest-agent bridge --socket PATH
       axo-guest-agent probe NONCE
       axo-guest-agent --version";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Answer on a socket.
    Serve(Serve),
    /// Be the first process of a machine.
    Init,
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
    /// Until when.
    pub(crate) times: Times,
    /// What a tool is made of, where one can be prepared.
    pub(crate) site: Option<Site>,
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
        // The kernel calls the first process by its path, and gives it whatever it did not
        // understand of its own command line.
        let program = words.next().map(PathBuf::from);
        if program.is_some_and(|program| program.file_name() == Some(OsStr::new("init"))) {
            return Ok(Self::Init);
        }
        let verb = words.next().and_then(|word| word.into_string().ok());
        match verb.as_deref() {
            Some("--version") => Ok(Self::Say(version().to_owned())),
            Some("probe") => match (words.next().map(OsString::into_string), words.next()) {
                (Some(Ok(nonce)), None) => Ok(Self::Say(nonce)),
                _ => Err(USAGE.into()),
            },
            Some("init") if words.next().is_none() => Ok(Self::Init),
            Some("serve") => options(words).map(Self::Serve),
            Some("bridge") => match options(words)? {
                Serve {
                    listen: Listen::Path(socket),
                    times:
                        Times {
                            idle: None,
                            total: None,
                        },
                    site: None,
                } => Ok(Self::Bridge { socket }),
                _ => Err(USAGE.into()),
            },
            _ => Err(USAGE.into()),
        }
    }
}

fn options(mut words: impl Iterator<Item = OsString>) -> Result<Serve, String> {
    let (mut listen, mut times) = (None, Times::default());
    let (mut runner, mut image, mut files) = (None, None, None);
    while let Some(name) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match name.to_str() {
            Some("--socket") if !value.is_empty() => listen = Some(Listen::Path(value.into())),
            Some("--fd") => listen = Some(Listen::Descriptor(descriptor(&value)?)),
            Some("--idle") => times.idle = Some(seconds(&value)?),
            Some("--total") => times.total = Some(seconds(&value)?),
            Some("--runner") => runner = Some(PathBuf::from(value)),
            Some("--image") => image = Some(PathBuf::from(value)),
            Some("--files") => files = Some(PathBuf::from(value)),
            _ => return Err(USAGE.into()),
        }
    }
    let site = match (runner, image, files) {
        (Some(runner), Some(image), files) => Some(Site {
            runner,
            image,
            files,
        }),
        (None, None, None) => None,
        _ => return Err(USAGE.into()),
    };
    Ok(Serve {
        listen: listen.ok_or(USAGE)?,
        times,
        site,
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
        called("axo-guest-agent", line)
    }

    fn called(program: &str, line: &str) -> Result<Command, String> {
        let words = [program].into_iter().chain(line.split_whitespace());
        Command::parse(words.map(OsString::from))
    }

    #[test]
    fn the_kernel_calls_the_first_process_by_its_path() {
        assert_eq!(called("/init", "unknown=1 serve").unwrap(), Command::Init);
        assert!(called("/sbin/initial", "").is_err());
    }

    #[test]
    fn a_command_line_is_read_or_refused() {
        assert_eq!(
            parse("serve --socket /run/a.sock --idle 60").unwrap(),
            Command::Serve(Serve {
                listen: Listen::Path("/run/a.sock".into()),
                times: Times {
                    idle: Some(Duration::from_secs(60)),
                    total: None
                },
                site: None
            })
        );
        assert_eq!(
            parse("serve --runner /r --socket s --image /i --files /f").unwrap(),
            Command::Serve(Serve {
                listen: Listen::Path("s".into()),
                times: Times::default(),
                site: Some(Site {
                    runner: "/r".into(),
                    image: "/i".into(),
                    files: Some("/f".into())
                })
            })
        );
        assert_eq!(parse("init").unwrap(), Command::Init);
        assert_eq!(
            parse("serve --fd 3").unwrap(),
            Command::Serve(Serve {
                listen: Listen::Descriptor(3),
                times: Times::default(),
                site: None
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
            "bridge --socket s --runner /r --image /i",
            "serve --socket s --runner /r",
            "serve --socket s --image /i",
            "serve --socket s --files /f",
            "init now",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
