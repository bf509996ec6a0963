//! `axocoatl tiers`: what this host can do.

use axocoatl_isolation::{Proof, TierProof};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::fail;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::setup;

pub(super) async fn run(printer: &Printer) -> Exit {
    let (engine, home) = match setup::trial_engine() {
        Ok(trial) => trial,
        Err(error) => {
            return fail(printer, error.as_ref(), Exit::Failed);
        }
    };
    let proofs = engine.prove_in(home.path()).await;
    printer.result(
        || json!({ "tiers": proofs.iter().map(convert::tier_proof).collect::<Vec<Value>>() }),
        || table(&proofs),
    );
    Exit::Success
}

pub(super) fn table(proofs: &[TierProof]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["TIER", "WORKS", "PROOF"]);
    for proof in proofs {
        let (works, detail) = match &proof.proof {
            Proof::Works { took } => (
                "yes",
                format!(
                    "ran a tool in {:.1} ms, all set-up included",
                    took.as_secs_f64() * 1e3
                ),
            ),
            Proof::Fails { reason, fix } => ("no", format!("{reason}; {fix}")),
        };
        table.add_row([proof.tier.as_str(), works, &detail]);
    }
    table.trim_fmt()
}
