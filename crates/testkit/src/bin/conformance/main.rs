//! `cargo xtask conformance`: every case on every tier, as a table.
//!
//! With `--subject NAME` on that one alone; whether a case can fail is then not tried again.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::process::ExitCode;

use axo_testkit::{Subjects, Verdict, all, check, sabotaged};
use serde_json::json;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let only = arguments
        .iter()
        .position(|argument| argument == "--subject")
        .and_then(|at| arguments.get(at + 1));
    let mut subjects = Subjects::new();
    if let Some(name) = only {
        subjects.all.retain(|subject| subject.name == name);
    }
    let (mut passed, mut failed) = (0, 0);
    let mut rows = Vec::new();
    if !json {
        let names: Vec<_> = subjects
            .all
            .iter()
            .map(|s| format!("{:<8}", s.name))
            .collect();
        println!("{:<56} {} seen to fail", "case", names.join(" "));
    }
    for case in all() {
        let mut verdicts = Vec::new();
        for subject in &subjects.all {
            verdicts.push(check(&case, subject).await);
        }
        // On the first subject that can: that the case notices is a property of the case.
        let able = verdicts
            .iter()
            .position(|verdict| !matches!(verdict, Verdict::Cannot(_)));
        let noticed = match able {
            _ if only.is_some() => true,
            Some(at) => sabotaged(&case, &subjects.all[at]).await.is_some(),
            None => false,
        };
        failed += verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Fail(_)))
            .count()
            + usize::from(!noticed);
        passed += verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Pass))
            .count();
        let words: Vec<_> = verdicts.iter().map(word).collect();
        if json {
            rows.push(json!({
                "case": case.name, "clause": case.clause, "noticed_sabotage": noticed,
                "verdicts": subjects.all.iter().zip(&verdicts).map(|(subject, verdict)| json!({
                    "subject": subject.name, "verdict": word(verdict), "reason": reason(verdict),
                })).collect::<Vec<_>>(),
            }));
            continue;
        }
        let cells: Vec<_> = words.iter().map(|word| format!("{word:<8}")).collect();
        println!(
            "{:<56} {} {}",
            case.name,
            cells.join(" "),
            match noticed {
                _ if only.is_some() => "",
                true => "yes",
                false => "NO",
            }
        );
        for (subject, verdict) in subjects.all.iter().zip(&verdicts) {
            if let Some(reason) = reason(verdict) {
                println!("    {}: {}: {reason}", subject.name, word(verdict));
            }
        }
    }
    if json {
        println!(
            "{:#}",
            json!({ "cases": rows, "passed": passed, "failed": failed })
        );
    } else {
        println!("\n{passed} passed, {failed} failed");
    }
    // A subject that there is not has passed nothing.
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail(_) => "FAIL",
        Verdict::Cannot(_) => "cannot",
    }
}

fn reason(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Fail(reason) | Verdict::Cannot(reason) => Some(reason),
    }
}
