//! One command of a repair.

use std::time::Duration;

use crate::podman::command::run_step;
use crate::podman::error::PodmanError;
use crate::podman::excerpt::excerpt;
use crate::podman::host::Host;

/// How long a step may take: a package manager that fetches over a slow line, or a virtual machine
/// that boots.
pub(crate) const STEP_TIME: Duration = Duration::from_secs(15 * 60);

/// One command of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program and its arguments, `sudo` included where this user is not root.
    pub command: Vec<String>,
    /// What it is for.
    pub why: String,
    /// Whether what follows is worth doing if it fails.
    pub may_fail: bool,
}

impl Step {
    pub(crate) fn new(command: Vec<String>, why: impl Into<String>) -> Self {
        Self {
            command,
            why: why.into(),
            may_fail: false,
        }
    }

    /// A command that needs no quoting.
    pub(crate) fn of_words(command: &str, why: impl Into<String>) -> Self {
        let words = command.split_whitespace().map(String::from);
        Self::new(words.collect(), why)
    }

    pub(crate) fn that_may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    /// The same as root. `sudo -n` never asks: it does it, or it says that it would have to ask.
    pub(crate) fn by_root(mut self, host: &Host) -> Self {
        if !host.is_root() {
            self.command.splice(0..0, ["sudo", "-n"].map(String::from));
        }
        self
    }

    /// As it is typed in a shell. Where a person types it, `sudo` may ask.
    #[must_use]
    pub fn shown(&self) -> String {
        let words = match self.command.as_slice() {
            [sudo, flag, rest @ ..] if sudo == "sudo" && flag == "-n" => {
                [std::slice::from_ref(sudo), rest].concat()
            }
            words => words.to_vec(),
        };
        let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
        quoted.join(" ")
    }

    /// Does it.
    pub(crate) async fn run(&self, host: &Host) -> Result<(), PodmanError> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(());
        };
        let failed = |why: String| PodmanError::Repair {
            what: self.why.clone(),
            why,
            command: self.shown(),
        };
        let found = match program.as_str() {
            "podman" => host.find_podman(),
            _ => host.find_of_system(program),
        };
        let program = found.ok_or_else(|| failed(format!("there is no program {program}")))?;
        let output = run_step(host, &program, arguments, STEP_TIME)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        // Some say on standard output why they fail, winget among them.
        let said = match output.said() {
            said if said.is_empty() => excerpt(&output.stdout),
            said => said,
        };
        Err(failed(format!("{} ({said})", output.status)))
    }
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        let step = |words: &[&str]| Step::new(words.iter().map(|w| (*w).to_owned()).collect(), "");
        assert_eq!(
            step(&["sudo", "-n", "apt-get", "install"]).shown(),
            "sudo apt-get install"
        );
        assert_eq!(
            step(&["sh", "-c", "a 'b' > c"]).shown(),
            r"sh -c 'a '\''b'\'' > c'"
        );
        assert_eq!(step(&["x", ""]).shown(), "x ''");
    }

    #[test]
    fn root_needs_no_sudo() {
        let host = Host::of_process();
        let step = |uid| Step::of_words("true", "").by_root(&host.clone().with_user(uid));
        assert_eq!(step(0).command, ["true"]);
        assert_eq!(step(1000).command, ["sudo", "-n", "true"]);
    }
}
