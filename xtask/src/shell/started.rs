//! One command: what it is given, how it is shown, and how it ends.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::say;

/// A command about to be started.
pub(crate) struct Started {
    command: Command,
    hint: Option<String>,
}

impl Started {
    pub(super) fn new(command: Command) -> Self {
        Self {
            command,
            hint: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Where it is started, in place of the workspace.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What to do should it fail.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Shows the command and what it prints. That it fails is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        say(format_args!("$ {}", self.line()));
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(error))?;
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!("\n  {hint}"))
            .unwrap_or_default();
        ensure!(
            status.success(),
            "`{}` ended with {status}{hint}",
            self.line()
        );
        Ok(())
    }

    /// Runs it unseen, and takes what it prints however it ends.
    pub(crate) fn output(mut self) -> Result<Output> {
        self.command
            .output()
            .map_err(|error| self.not_started(error))
    }

    /// Runs it unseen, and takes what it prints as text. That it fails is an error.
    pub(crate) fn text(mut self) -> Result<String> {
        let output = self
            .command
            .output()
            .map_err(|error| self.not_started(error))?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`{}` ended with {}:\n{}",
                self.line(),
                output.status,
                log.trim_end()
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("reading what `{}` says", self.line()))
    }

    /// Runs it unseen, and takes the JSON document it prints. That it fails is an error.
    pub(crate) fn json(self) -> Result<serde_json::Value> {
        let line = self.line();
        serde_json::from_str(&self.text()?).with_context(|| format!("reading what `{line}` says"))
    }

    /// Runs it unseen: does it end well?
    pub(crate) fn works(self) -> bool {
        self.output().is_ok_and(|output| output.status.success())
    }

    /// Starts it unseen and leaves it running. What it prints goes to a log, and what is typed at the
    /// terminal, Ctrl-C for one, does not reach it.
    pub(crate) fn start(mut self, log: File) -> Result<Child> {
        let stdout = log.try_clone().context("opening a log twice")?;
        self.command
            .stdout(stdout)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| self.not_started(error))
    }

    fn not_started(&self, error: std::io::Error) -> anyhow::Error {
        let program = Path::new(self.command.get_program()).display();
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                anyhow!(
                    "there is no `{program}`; `cargo xtask setup` installs what is needed beside Rust"
                )
            }
            _ => anyhow!(error).context(format!("starting `{program}`")),
        }
    }

    /// As it would be typed, with the variables given to it alone.
    fn line(&self) -> String {
        let mut line = String::new();
        for (name, value) in self.command.get_envs() {
            if name != "PATH"
                && name != "CARGO_TARGET_DIR"
                && let Some(value) = value
            {
                let value = value.to_string_lossy();
                let _ = write!(line, "{}={} ", name.to_string_lossy(), quoted(&value));
            }
        }
        line.push_str(&quoted(&self.command.get_program().to_string_lossy()));
        for argument in self.command.get_args() {
            line.push(' ');
            line.push_str(&quoted(&argument.to_string_lossy()));
        }
        line
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
