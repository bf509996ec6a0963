//! The cases, by subject of the contract.

mod ending;
mod files;
mod filling;
mod host;
mod host_files;
mod input;
mod isolation;
mod kernel;
mod limits;
mod mounts;
mod network;
mod output;
mod output_files;
mod posture;
mod processes;
mod rights;
mod streams;

use std::future::Future;
use std::pin::Pin;

use axo_core::{GrantKind, LimitKind, Outcome, Tier};
use serde_json::Value;

use crate::rig::{Request, Rig};
use crate::subject::Subject;

/// What a case comes to: how the clause was broken.
pub type CaseResult = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// One clause of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, a sentence with underscores.
    pub name: &'static str,
    /// Where the clause stands.
    pub clause: &'static str,
    /// What a subject must be able to do.
    pub needs: &'static [Need],
    /// How the subject is broken to see the case fail.
    pub broken: Sabotage,
    /// The case.
    pub run: fn(Rig) -> CaseResult,
}

/// Something that not every tier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A limit is enforced.
    Limit(LimitKind),
    /// A grant is given.
    Grant(GrantKind),
    /// Tools have `/axocoatl` and `/tmp`.
    Files,
    /// Every exit status arrives.
    Statuses,
    /// There is a wall around tools.
    Wall,
    /// The tool is a native program behind a wall.
    Kernel,
    /// The same, and the kernel it calls is the host's own.
    SharedKernel,
    /// The test may look into the processes of other users.
    Root,
}

/// How a subject is broken.
#[derive(Clone, Copy)]
pub enum Sabotage {
    /// It does something else than it was asked, for instance without a limit.
    Request(fn(&mut Request)),
    /// It reports something else than what happened.
    Outcome(fn(&mut Outcome)),
}

impl Case {
    /// Why `subject` cannot be held to this case.
    pub(crate) fn unmet_need(&self, subject: &Subject) -> Option<String> {
        let can = subject.capabilities();
        let tier = subject.executor.tier();
        self.needs.iter().find_map(|need| match need {
            Need::Limit(limit) if !can.limits.contains(limit) => Some(format!(
                "tier {tier} does not enforce {limit}, and placement refuses it"
            )),
            Need::Grant(grant) if !can.grants.contains(grant) => Some(format!(
                "tier {tier} gives no {grant}, and placement refuses it"
            )),
            Need::Files if !subject.files => Some("commands of the host have no /axocoatl".into()),
            Need::Statuses if !subject.statuses => {
                Some("wasi:cli/exit of WASI 0.2 has only success and failure".into())
            }
            Need::Wall if tier == Tier::None => Some("tier none has no wall".into()),
            Need::Kernel if !matches!(tier, Tier::Oci | Tier::MicroVm) => Some(format!(
                "tools of tier {tier} are no native programs behind a wall"
            )),
            Need::Root if !rustix::process::geteuid().is_root() => Some(
                "only root may look into the processes of other users, whom a sandbox's are".into(),
            ),
            Need::SharedKernel if tier != Tier::Oci => Some(format!(
                "tools of tier {tier} are not walled off from a kernel that is the host's own"
            )),
            _ => None,
        })
    }
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        input::CASES,
        output::CASES,
        ending::CASES,
        limits::CASES,
        files::CASES,
        isolation::CASES,
        processes::CASES,
        streams::CASES,
        filling::CASES,
        kernel::CASES,
        host_files::CASES,
        rights::CASES,
        posture::CASES,
        mounts::CASES,
        output_files::CASES,
        network::CASES,
    ]
    .concat()
}

/// The output as a value, or why there is none.
pub(crate) fn output(outcome: &Outcome) -> Result<Value, String> {
    match outcome.document() {
        Some(document) => Ok(document.value().clone()),
        None => Err(format!(
            "no output: {:?}; it {}; log: {}",
            outcome.output,
            outcome.termination,
            log(outcome)
        )),
    }
}

/// The tool's log as text.
pub(crate) fn log(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stderr).into_owned()
}

/// The clause, as a condition.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Both are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    ensure(found == expected, || {
        format!("{what} is {found:?}, not {expected:?}")
    })
}

/// Writes a case without its wrapping.
macro_rules! case {
    ($name:ident, $clause:literal, [$($need:expr),*], $broken:expr, |$rig:ident| $body:block) => {
        $crate::cases::Case {
            name: stringify!($name),
            clause: $clause,
            needs: &[$($need),*],
            broken: $broken,
            run: |$rig| Box::pin(async move $body),
        }
    };
}
pub(crate) use case;
