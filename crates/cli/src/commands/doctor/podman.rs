//! Whether podman can run a session, found out by starting a container.

use axocoatl_isolation::Places;
use axocoatl_isolation::podman::{self, Bridge, Cause, PodmanFinding, Probed, Progress, Unready};

use super::{Finding, State};
use crate::convert::chain;
use crate::printer::say;

/// Looks, in `trial`; with `fix`, repairs what can be repaired, and keeps what works for the sessions
/// of `places`.
pub(super) async fn examine(places: &Places, trial: &Places, fix: bool) -> Vec<Finding> {
    let probed = match fix {
        true => podman::repair(places, &mut tell).await,
        false => podman::prove(trial, false).await,
    };
    match probed {
        Ok(Probed::Ready(proof)) => {
            let mut detail = format!(
                "podman {} runs a container with every limit in force",
                proof.version
            );
            if let Some(runtime) = &proof.runtime {
                detail.push_str(&format!(", by {}", runtime.display()));
            }
            if proof.rootless {
                detail.push_str(", as this user");
            }
            for overcome in &proof.overcome {
                detail.push_str(&format!("; got round: {}", overcome.cause.text()));
            }
            let mut findings = vec![finding(State::Good(detail))];
            if let Bridge::Fails(lacking) = &proof.bridge {
                findings.push(wrong("sessions' network bridge", lacking));
            }
            findings
        }
        Ok(Probed::Unready(unready)) => unready_findings(&unready),
        Err(error) => vec![finding(State::Wrong(
            chain(&*error),
            "install podman 4 or newer, or axocoatl doctor --fix".into(),
        ))],
    }
}

fn unready_findings(unready: &Unready) -> Vec<Finding> {
    let found = unready.findings.iter().chain(&unready.suspicions);
    let findings: Vec<Finding> = found
        .map(|found| match found.cause {
            // Tools need none: only sessions do.
            Cause::PodmanMissing => finding(State::Missing(
                "podman is not installed, so there are no sessions".into(),
                advice(found),
            )),
            _ => wrong("sessions", found),
        })
        .collect();
    match findings.is_empty() {
        true => vec![finding(State::Wrong(
            "podman runs no container of ours".into(),
            "axocoatl doctor --fix".into(),
        ))],
        false => findings,
    }
}

fn finding(state: State) -> Finding {
    Finding {
        what: "sessions".into(),
        state,
    }
}

fn wrong(what: &str, found: &PodmanFinding) -> Finding {
    let detail = match found.evidence.as_str() {
        "" => found.cause.text().to_owned(),
        evidence => format!("{} ({evidence})", found.cause.text()),
    };
    Finding {
        what: what.into(),
        state: State::Wrong(detail, advice(found)),
    }
}

fn advice(found: &PodmanFinding) -> String {
    let mut text = found.repair.text.clone();
    for command in &found.repair.commands {
        text.push_str(&format!("\n            {command}"));
    }
    if found.repair.can_fix {
        text.push_str("\n            or: axocoatl doctor --fix");
    }
    text
}

/// What a repair does, on standard error.
fn tell(progress: Progress<'_>) {
    match progress {
        Progress::Begins { number, of, step } => {
            say(
                "",
                &format!("[{number}/{of}] {}: {}", step.why, step.command.join(" ")),
            );
        }
        Progress::Skipped { step, why } => {
            say("", &format!("{} failed, going on: {why}", step.why))
        }
        _ => {}
    }
}
