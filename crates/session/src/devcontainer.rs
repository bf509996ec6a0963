//! What a project says of its own development container: `devcontainer.json`
//! (containers.dev/implementors/json_reference). It is the project's word, not the operator's: its
//! image has to be trusted and its commands have to be allowed like anybody's. What of it a session does
//! not take is told, and nothing of it is cut or guessed.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::PublishedPort;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What is for editors, and changes nothing of a container.
const FOR_EDITORS: [&str; 5] = [
    "$schema",
    "name",
    "customizations",
    "portsAttributes",
    "otherPortsAttributes",
];
/// What stands in `${…}` for editors, up to a colon (containers.dev: "Variables in
/// devcontainer.json"). A shell's own variables are called otherwise.
const VARIABLES: [&str; 8] = [
    "env",
    "localEnv",
    "containerEnv",
    "localWorkspaceFolder",
    "localWorkspaceFolderBasename",
    "containerWorkspaceFolder",
    "containerWorkspaceFolderBasename",
    "devcontainerId",
];
/// Most characters of a name of its that are told.
const MAX_TOLD: usize = 64;

/// What of a devcontainer.json a session takes.
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
    /// What it says beside that and a session does not do, by its place. What is for editors alone is
    /// left out, and so is what asks for nothing.
    pub not_used: Vec<String>,
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
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
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
        let mut bytes = Vec::new();
        // The project's, and so whatever it is: a FIFO is not waited for.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        std::fs::File::options()
            .read(true)
            .custom_flags(nonblock)
            .open(path)
            .and_then(|file| match file.metadata()?.is_file() {
                true => file.take(MAX_BYTES + 1).read_to_end(&mut bytes),
                false => Err(std::io::Error::other("it is no regular file")),
            })
            .map_err(problem)?;
        let parsed = match (bytes.len() as u64, std::str::from_utf8(&bytes)) {
            (..=MAX_BYTES, Ok(text)) => Self::parse(text),
            (..=MAX_BYTES, Err(_)) => Err("it is not UTF-8".to_owned()),
            _ => Err(format!("it has more than {MAX_BYTES} bytes")),
        };
        parsed.map_err(|why| DevcontainerError::Bad {
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
        for (place, text) in raw
            .image
            .iter()
            .map(|image| ("image".to_owned(), image))
            .chain(
                raw.container_env
                    .iter()
                    .map(|(name, value)| (format!("containerEnv.{}", told(name)), value)),
            )
        {
            if text.contains("${") {
                return Err(not_substituted(&place, text));
            }
        }
        let mut setup = Vec::new();
        for (place, command) in [
            ("onCreateCommand", raw.on_create_command),
            ("postCreateCommand", raw.post_create_command),
        ] {
            let added = setup.len();
            command
                .into_iter()
                .for_each(|command| add(&mut setup, command));
            if let Some(text) = setup[added..].iter().find(|text| has_variable(text)) {
                return Err(not_substituted(place, text));
            }
        }
        let mut not_used = not_used(&raw.others);
        let mut ports = Vec::new();
        for (index, port) in raw.forward_ports.iter().enumerate() {
            let number = port.as_u64().and_then(|port| u16::try_from(port).ok());
            match number.filter(|port| *port > 0) {
                Some(port) => ports.push(PublishedPort {
                    host: port,
                    session: port,
                }),
                // Of another container, of which there is none.
                None if port.is_string() => not_used.push(format!("forwardPorts[{index}]")),
                None => return Err(format!("forwardPorts[{index}] is no port from 1 to 65535")),
            }
        }
        Ok(Self {
            image: raw.image,
            environment: raw.container_env,
            ports,
            setup,
            not_used,
        })
    }
}

/// Places of what is asked for and not done.
fn not_used(others: &BTreeMap<String, Value>) -> Vec<String> {
    let asks = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    others
        .iter()
        .filter(|(name, value)| asks(value) && !FOR_EDITORS.contains(&name.as_str()))
        .map(|(name, _)| told(name))
        .collect()
}

/// A name of the file's, fit for a message.
fn told(name: &str) -> String {
    match name.char_indices().nth(MAX_TOLD) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn not_substituted(place: &str, text: &str) -> String {
    let variable = text.find("${").map_or(text, |start| &text[start..]);
    let end = variable.find('}').map_or(variable.len(), |end| end + 1);
    format!(
        "{place} has {}, which axocoatl does not substitute: write what it stands for",
        told(&variable[..end])
    )
}

/// Whether an editor would put something in. What a shell substitutes is the shell's.
fn has_variable(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| {
        let end = rest.find([':', '}']).unwrap_or(rest.len());
        VARIABLES.contains(&&rest[..end])
    })
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
              "forwardPorts": [8080, "db:5432"],
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
        assert_eq!(found.not_used, ["forwardPorts[1]"]);
    }

    #[test]
    fn what_is_not_done_is_told_and_what_is_for_editors_is_not() {
        let found = Devcontainer::parse(
            r#"{
              "$schema": "x", "name": "x", "image": "x", "customizations": {"vscode": {}},
              "portsAttributes": {"80": {}}, "otherPortsAttributes": {"onAutoForward": "silent"},
              "privileged": true, "init": true, "capAdd": ["SYS_PTRACE"], "securityOpt": ["seccomp=unconfined"],
              "runArgs": ["--network=host"], "mounts": ["source=/,target=/host,type=bind"],
              "features": {"x": {}}, "initializeCommand": "id", "postStartCommand": "id", "remoteUser": "me",
              "workspaceFolder": "/work", "appPort": 80, "made up": 0
            }"#,
        )
        .unwrap();
        assert_eq!(
            found.not_used,
            [
                "appPort",
                "capAdd",
                "features",
                "init",
                "initializeCommand",
                "made up",
                "mounts",
                "postStartCommand",
                "privileged",
                "remoteUser",
                "runArgs",
                "securityOpt",
                "workspaceFolder",
            ]
        );
        // What asks for nothing is done.
        let nothing = r#"{"privileged": false, "capAdd": [], "features": {}, "runArgs": null, "remoteUser": ""}"#;
        assert_eq!(Devcontainer::parse(nothing), Ok(Devcontainer::default()));
        let long = format!(r#"{{"{}": 1}}"#, "é".repeat(1000));
        let told = Devcontainer::parse(&long).unwrap().not_used;
        assert_eq!(told[0].chars().count(), MAX_TOLD + 1);
        for port in ["0", "70000", "1.5", "-1", "{}"] {
            let why =
                Devcontainer::parse(&format!(r#"{{"forwardPorts": [1, {port}]}}"#)).unwrap_err();
            assert!(why.contains("forwardPorts[1]"), "{why}");
        }
    }

    #[test]
    fn a_variable_that_is_not_substituted_is_refused_with_its_place() {
        for (text, place) in [
            (
                r#"{"image": "a/${localEnv:TAG}"}"#,
                "image has ${localEnv:TAG}",
            ),
            (
                r#"{"containerEnv": {"A": "b", "P": "x${containerEnv:PATH}:y"}}"#,
                "containerEnv.P has ${containerEnv:PATH}",
            ),
            (
                r#"{"containerEnv": {"P": "${HOME}"}}"#,
                "containerEnv.P has ${HOME}",
            ),
            (
                r#"{"containerEnv": {"P": "${unclosed"}}"#,
                "containerEnv.P has ${unclosed",
            ),
            (
                r#"{"onCreateCommand": ["ls", "${localWorkspaceFolder}"]}"#,
                "onCreateCommand has ${localWorkspaceFolder}",
            ),
            (
                r#"{"postCreateCommand": {"a": "ls", "b": "id ${devcontainerId}"}}"#,
                "postCreateCommand has ${devcontainerId}",
            ),
        ] {
            let why = Devcontainer::parse(text).unwrap_err();
            assert!(why.starts_with(place), "{why}");
        }
        let shells = r#"{"postCreateCommand": "echo ${HOME} ${X:-y} ${environment} $(id)"}"#;
        assert_eq!(Devcontainer::parse(shells).unwrap().setup.len(), 1);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_and_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("devcontainer.json");
        let most = usize::try_from(MAX_BYTES).unwrap();
        let mut text = r#"{"image": "x"} "#.to_owned();
        text.push_str(&" ".repeat(most - text.len()));
        std::fs::write(&path, &text).unwrap();
        assert!(Devcontainer::read(&path).is_ok());
        text.push_str("// and more");
        std::fs::write(&path, &text).unwrap();
        let error = Devcontainer::read(&path).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn one_that_builds_is_refused_and_nonsense_is_no_panic() {
        assert!(Devcontainer::parse(r#"{"build": {"dockerfile": "Dockerfile"}}"#).is_err());
        for text in ["", "{", "/*", "//", "\"", "\"\\", "]", ",]", "{\"a\":\"\\"] {
            let _ = Devcontainer::parse(text);
        }
    }
}
