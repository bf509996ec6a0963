//! Repairs, when somebody asks for them: what `doctor --fix` does.
//!
//! ```text
//! findings ──plan──▶ Plan { steps, left } ──carry_out──▶ changed host ──probe──▶ findings …
//! ```
//!
//! [`plan`] says what would be done and changes nothing. [`fix`] goes round until the host is ready, no
//! step is left, or the steps have all been taken: what was repaired often shows what comes after, as
//! an installed podman shows that its runtime does not work here.

mod advice;
mod packages;
mod step;
mod subordinate;

use super::error::PodmanError;
use super::findings::{Cause, Finding};
use super::host::Host;
use super::probe::{ProbeRequest, Probed, probe};

pub(super) use advice::{advice, runs_systemd};
pub(super) use packages::{Package, manual};
pub use step::Step;
pub(super) use subordinate::{are_elsewhere, lacking};

/// Most rounds of repairs: podman itself, its runtime, its ids, its limits.
const ROUNDS: usize = 4;

/// What would be done, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What no step helps against: a person has to decide, or to do it.
    pub left: Vec<Finding>,
}

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A step begins: the command runs now.
    Begins {
        /// Its number in this round, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// It.
        step: &'a Step,
    },
    /// It is done.
    Done {
        /// It.
        step: &'a Step,
    },
    /// It failed, and what follows is done all the same.
    Skipped {
        /// It.
        step: &'a Step,
        /// Why, fit to be shown.
        why: &'a str,
    },
    /// Containers are tried again.
    Probing,
}

/// What would be done against these findings on this host.
#[must_use]
pub fn plan(host: &Host, findings: &[Finding]) -> Plan {
    let mut plan = Plan::default();
    for finding in findings {
        let steps = advice::steps(host, finding.cause);
        if steps.is_empty() {
            plan.left.push(finding.clone());
        }
        for step in steps {
            if !plan.steps.contains(&step) {
                plan.steps.push(step);
            }
        }
    }
    plan
}

/// Takes the steps, in order.
///
/// # Errors
/// [`PodmanError::Repair`] with the first step that failed and had to succeed. Those before it stay.
pub async fn carry_out(
    host: &Host,
    steps: &[Step],
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<(), PodmanError> {
    for (index, step) in steps.iter().enumerate() {
        progress(Progress::Begins {
            number: index + 1,
            of: steps.len(),
            step,
        });
        match step.run(host).await {
            Ok(()) => progress(Progress::Done { step }),
            Err(error) if step.may_fail => {
                let why = error.to_string();
                progress(Progress::Skipped { step, why: &why });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Probes, repairs what can be repaired without a person, and probes again. Changes the host: installs
/// packages, writes settings.
///
/// # Errors
/// If a step that had to succeed failed, or a probe could not be made.
pub async fn fix(
    host: &Host,
    request: &ProbeRequest,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Probed, PodmanError> {
    let mut taken: Vec<Step> = Vec::new();
    for _ in 0..ROUNDS {
        progress(Progress::Probing);
        let probed = probe(host, request).await?;
        let next = next_steps(host, &probed, &taken);
        if next.is_empty() {
            return Ok(probed);
        }
        carry_out(host, &next, progress).await?;
        taken.extend(next);
    }
    progress(Progress::Probing);
    probe(host, request).await
}

/// The steps against what was seen, or else against what is suspected; and where containers start,
/// against what they would lack. One that was taken and did not help is not taken again.
fn next_steps(host: &Host, probed: &Probed, taken: &[Step]) -> Vec<Step> {
    let lists: [&[Finding]; 2] = match probed {
        Probed::Unready(unready) => [&unready.findings, &unready.suspicions],
        Probed::Ready(proof) => [&proof.shortcomings, &[]],
    };
    let steps = lists.into_iter().map(|findings| {
        let mut steps = plan(host, findings).steps;
        steps.retain(|step| !taken.contains(step));
        steps
    });
    steps
        .into_iter()
        .find(|steps| !steps.is_empty())
        .unwrap_or_default()
}

/// Installs podman without asking anybody.
///
/// # Errors
/// [`PodmanError::Install`] with what to run by hand.
pub(super) async fn install_podman(host: &Host) -> Result<(), PodmanError> {
    let failed = |why: String| PodmanError::Install {
        why,
        manual: manual(host),
    };
    let steps = advice::steps(host, Cause::PodmanMissing);
    if steps.is_empty() {
        return Err(failed(
            "no package manager that is known was found".to_owned(),
        ));
    }
    carry_out(host, &steps, &mut |_| {})
        .await
        .map_err(|error| match error {
            PodmanError::Repair { why, .. } => failed(why),
            other => failed(other.to_string()),
        })
}
