//! `axocoatl doctor`: whether this host is ready, what is wrong, and how it is repaired.

mod directory;
mod leftovers;
mod machines;
mod podman;
mod tools;

use axocoatl_isolation::{Engine, Places, Proof, Readiness, Tier, TierProof};
use serde_json::json;

use super::{fail, tiers};
use crate::args;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::setup;

/// What one examination found.
struct Finding {
    what: String,
    state: State,
}

enum State {
    /// Nothing to do.
    Good(String),
    /// It was wrong and is repaired.
    Repaired(String),
    /// It is not there, and not everybody needs it; the second text says how to get it.
    Missing(String, String),
    /// It is wrong; the second text says what to do.
    Wrong(String, String),
}

pub(super) async fn run(arguments: &args::Doctor, printer: &Printer) -> Exit {
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let (policy, engine) = policy();
    let mut findings = vec![policy];
    for (what, path) in [
        ("runtime directory", &places.runtime),
        ("data directory", &places.data),
        ("compiled code", &places.wasm_cache()),
        ("user's tools", &places.user_tools()),
        ("image store", &places.images()),
    ] {
        findings.push(directory::examine(what, path, arguments.fix));
    }
    findings.extend(engine.iter().flat_map(tools::examine));
    findings.push(leftovers::of_processes(&places, arguments.fix));
    findings.push(leftovers::of_containers(arguments.fix));

    // The trial makes what it needs in a place of its own, so that examining changes nothing.
    let (engine, home) = match setup::trial_engine() {
        Ok(trial) => trial,
        Err(error) => {
            return fail(printer, error.as_ref(), Exit::Failed);
        }
    };
    findings.push(machines::examine(&places, &engine));
    let proofs = engine.prove_in(home.path()).await;
    let trial = Places::under(home.path());
    findings.extend(podman::examine(&places, &trial, arguments.fix).await);
    show(&findings, &proofs, printer);
    let tiers_work = proofs.iter().all(|proof| is_well(&engine, proof));
    let all_good = findings
        .iter()
        .all(|finding| !matches!(finding.state, State::Wrong(..)));
    if tiers_work && all_good {
        Exit::Success
    } else {
        Exit::Unwell
    }
}

/// Whether a tier does what it must here: `wasm` works everywhere, and one that says it is ready
/// works. A host without `/bin/cat` has no proof of `none`, and is well.
fn is_well(engine: &Engine, proof: &TierProof) -> bool {
    let ready = || {
        let mut tiers = engine.tiers().iter();
        tiers.any(|t| t.tier == proof.tier && matches!(t.readiness, Readiness::Ready(_)))
    };
    let must = match proof.tier {
        Tier::None => false,
        Tier::Wasm => true,
        Tier::Oci | Tier::MicroVm => ready(),
    };
    !must || matches!(proof.proof, Proof::Works { .. })
}

/// Whether the policy can be read and is valid, and the engine it gives.
fn policy() -> (Finding, Option<Engine>) {
    let what = "policy".to_owned();
    let built = setup::builder().and_then(|(builder, places)| Ok((builder.build()?, places)));
    let (state, engine) = match built {
        Ok((engine, places)) => {
            let path = places.policy();
            let shown = path.display();
            let state = match path.exists() {
                true => shown.to_string(),
                false => format!("defaults; {shown} does not exist"),
            };
            (State::Good(state), Some(engine))
        }
        Err(error) => {
            let fix = "correct the file, or remove it for the defaults".into();
            (State::Wrong(convert::chain(&error), fix), None)
        }
    };
    (Finding { what, state }, engine)
}

fn show(findings: &[Finding], proofs: &[TierProof], printer: &Printer) {
    printer.result(
        || {
            let findings: Vec<_> = findings
                .iter()
                .map(|finding| match &finding.state {
                    State::Good(text) => json!({"what": finding.what, "state": "good", "detail": text}),
                    State::Repaired(text) => json!({"what": finding.what, "state": "repaired", "detail": text}),
                    State::Missing(text, fix) => {
                        json!({"what": finding.what, "state": "missing", "detail": text, "fix": fix})
                    }
                    State::Wrong(text, fix) => {
                        json!({"what": finding.what, "state": "wrong", "detail": text, "fix": fix})
                    }
                })
                .collect();
            json!({ "findings": findings, "tiers": proofs.iter().map(convert::tier_proof).collect::<Vec<_>>() })
        },
        || {
            let mut text = String::new();
            for Finding { what, state } in findings {
                text.push_str(&match state {
                    State::Good(detail) => format!("good      {what}: {detail}\n"),
                    State::Repaired(detail) => format!("repaired  {what}: {detail}\n"),
                    State::Missing(detail, fix) => format!("missing   {what}: {detail}\n          to have it: {fix}\n"),
                    State::Wrong(detail, fix) => format!("WRONG     {what}: {detail}\n          repair: {fix}\n"),
                });
            }
            format!("{text}\n{}", tiers::table(proofs))
        },
    );
}
