//! What Axocoatl Isolation is tested with: the conformance cases, which every tier must pass, and
//! the probe, which plays the tool.
//!
//! A [`Case`] is one clause of the contract, written once. A [`Subject`] is a tier with the probe
//! packed for it. [`check`] runs a case on a subject; [`sabotaged`] runs it on the same subject
//! broken on purpose, which must make it fail: a case that passes then tests nothing.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that cannot be made ends the test"
)]

mod cases;
mod pace;
mod probe;
mod rig;
mod subject;

pub use cases::{Case, CaseResult, Need, Sabotage, all};
pub use rig::{Request, Rig};
pub use subject::{Subject, Subjects};

/// What a case came to on a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The subject keeps the clause.
    Pass,
    /// It does not, and how.
    Fail(String),
    /// The clause asks for something this subject cannot do, and says so to placement.
    Cannot(String),
}

/// Runs `case` on `subject`.
pub async fn check(case: &Case, subject: &Subject) -> Verdict {
    if let Some(reason) = case.unmet_need(subject) {
        return Verdict::Cannot(reason);
    }
    match (case.run)(Rig::new(subject, None)).await {
        Ok(()) => Verdict::Pass,
        Err(problem) => Verdict::Fail(problem),
    }
}

/// Runs `case` on `subject` broken as the case says. The answer is how the case failed; `None`
/// means that it did not notice.
pub async fn sabotaged(case: &Case, subject: &Subject) -> Option<String> {
    (case.run)(Rig::new(subject, Some(case.broken))).await.err()
}
