//! What a project says of its own development container: `devcontainer.json`
//! (containers.dev/implementors/json_reference). It is the project's word, not the operator's: its
//! image has to be trusted and its commands have to be allowed like anybody's.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::PublishedPort;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What of a devcontainer.json a session takes. Everything else in it is for editors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devcontainer {
    /// `image`.
    pub image: Option<String>,
    /// `containerEnv`.
    pub environment: BTreeMap<String, String>,
    /// `forwardPorts` that are numbers.
    pub ports: Vec<PublishedPort>,
    /// `onCreateCommand` and `postCreateCommand`, each for `/bin/sh -c`.
    pub setup: Vec<String>,
}

/// Why a devcontainer.json is not used.
#[derive(Debug, thiserror::Error)]
pub enum DevcontainerError {
    /// It cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that is not understood.
    #[error("{}: {why}", .path.display())]
    Bad {
        /// Which.
        path: PathBuf,
        /// What.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    image: Option<String>,
    #[serde(default)]
    container_env: BTreeMap<String, String>,
    #[serde(default)]
    forward_ports: Vec<Value>,
    on_create_command: Option<Command>,
    post_create_command: Option<Command>,
    build: Option<Value>,
    docker_file: Option<Value>,
    docker_compose_file: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    /// For a shell.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
    /// Several, each under a name.
    Named(BTreeMap<String, Command>),
}

impl Devcontainer {
    /// Reads the file.
    ///
    /// # Errors
    /// [`DevcontainerError`].
    pub fn read(path: &Path) -> Result<Self, DevcontainerError> {
        let problem = |source| DevcontainerError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        // The project's, and so whatever it is: a FIFO is not waited for.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        std::fs::File::options()
            .read(true)
            .custom_flags(nonblock)
            .open(path)
            .and_then(|file| match file.metadata()?.is_file() {
                true => file.take(MAX_BYTES).read_to_string(&mut text),
                false => Err(std::io::Error::other("it is no regular file")),
            })
            .map_err(problem)?;
        Self::parse(&text).map_err(|why| DevcontainerError::Bad {
            path: path.to_owned(),
            why,
        })
    }

    /// Reads its text: JSON with comments and commas after the last element.
    fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(&plain(text)).map_err(|e| e.to_string())?;
        if raw.build.is_some() || raw.docker_file.is_some() || raw.docker_compose_file.is_some() {
            return Err("it builds an image, which axocoatl does not: build and import it, and name it as \"image\"".to_owned());
        }
        let mut setup = Vec::new();
        for command in [raw.on_create_command, raw.post_create_command]
            .into_iter()
            .flatten()
        {
            add(&mut setup, command);
        }
        let ports = raw
            .forward_ports
            .iter()
            .filter_map(|port| u16::try_from(port.as_u64()?).ok().filter(|port| *port > 0))
            .map(|port| PublishedPort {
                host: port,
                session: port,
            })
            .collect();
        Ok(Self {
            image: raw.image,
            environment: raw.container_env,
            ports,
            setup,
        })
    }
}

fn add(setup: &mut Vec<String>, command: Command) {
    match command {
        Command::Line(line) => setup.push(line),
        Command::Words(words) => {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            setup.push(quoted.join(" "));
        }
        Command::Named(commands) => commands
            .into_values()
            .for_each(|command| add(setup, command)),
    }
}

/// A word for a shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// JSON with comments as JSON: comments become spaces, and commas before a closing bracket go.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                out.push(c);
                while let Some(c) = rest.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            ('/', Some('*')) => {
                rest.next();
                let mut last = ' ';
                for c in rest.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                out.push(' ');
            }
            ('}' | ']', _) => {
                let kept = out.trim_end().len();
                if out[..kept].ends_with(',') {
                    out.truncate(kept - 1);
                }
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_commas_and_every_form_of_command_are_read() {
        let found = Devcontainer::parse(
            r#"{
              // a comment with "quotes"
              "image": "debian:12", /* and /another/ */
              "containerEnv": {"URL": "http://x//y", },
              "forwardPorts": [8080, "db:5432", 0, 70000],
              "onCreateCommand": ["echo", "it's", "a b"],
              "postCreateCommand": {"one": "make", "two": ["true"]},
            }"#,
        )
        .unwrap();
        assert_eq!(found.image.as_deref(), Some("debian:12"));
        assert_eq!(found.environment["URL"], "http://x//y");
        assert_eq!(
            found.ports,
            [PublishedPort {
                host: 8080,
                session: 8080
            }]
        );
        assert_eq!(found.setup, [r"'echo' 'it'\''s' 'a b'", "make", "'true'"]);
    }

    #[test]
    fn one_that_builds_is_refused_and_nonsense_is_no_panic() {
        assert!(Devcontainer::parse(r#"{"build": {"dockerfile": "Dockerfile"}}"#).is_err());
        for text in ["", "{", "/*", "//", "\"", "\"\\", "]", ",]", "{\"a\":\"\\"] {
            let _ = Devcontainer::parse(text);
        }
    }
}
