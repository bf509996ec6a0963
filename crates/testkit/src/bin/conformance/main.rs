//! `cargo xtask conformance`: every case on every tier, as a table.
//!
//! `--subject NAME` takes that one alone; whether a case can fail is then not tried again. `--save FILE`
//! writes the results to a file as well, and `--with FILE` adds such a file's columns: of a tier that
//! runs on another host.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod column;

use std::process::ExitCode;

use axo_testkit::{Subjects, Verdict, all, check, sabotaged};
use serde_json::json;

use column::{Cell, Columns};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let only = value("--subject");
    let others = match value("--with").map(Columns::read).transpose() {
        Ok(others) => others.unwrap_or_default(),
        Err(problem) => {
            println!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    let mut subjects = Subjects::new();
    if let Some(name) = only {
        subjects.all.retain(|subject| subject.name == name);
    }
    let (mut passed, mut failed) = (0, 0);
    let mut rows = Vec::new();
    if !json {
        let own = subjects.all.iter().map(|subject| subject.name);
        let names = own.chain(others.names()).map(|name| format!("{name:<8}"));
        let names: Vec<_> = names.collect();
        println!("{:<56} {} seen to fail", "case", names.join(" "));
    }
    for case in all() {
        let mut cells = Vec::new();
        let mut able = None;
        for subject in &subjects.all {
            let verdict = check(&case, subject).await;
            if able.is_none() && !matches!(verdict, Verdict::Cannot(_)) {
                able = Some(subject);
            }
            cells.push(Cell::new(subject.name, &verdict));
        }
        // On the first subject that can: that the case notices is a property of the case.
        let noticed = match able {
            _ if only.is_some() => true,
            Some(subject) => sabotaged(&case, subject).await.is_some(),
            None => false,
        };
        cells.extend(others.of(case.name));
        failed += cells.iter().filter(|cell| cell.failed()).count() + usize::from(!noticed);
        passed += cells.iter().filter(|cell| cell.passed()).count();
        rows.push(json!({
            "case": case.name, "clause": case.clause, "noticed_sabotage": noticed,
            "verdicts": cells.iter().map(Cell::json).collect::<Vec<_>>(),
        }));
        if json {
            continue;
        }
        let words: Vec<_> = cells
            .iter()
            .map(|cell| format!("{:<8}", cell.word))
            .collect();
        println!(
            "{:<56} {} {}",
            case.name,
            words.join(" "),
            match noticed {
                _ if only.is_some() => "",
                true => "yes",
                false => "NO",
            }
        );
        for cell in &cells {
            if let Some(reason) = &cell.reason {
                println!("    {}: {}: {reason}", cell.subject, cell.word);
            }
        }
    }
    let all = json!({ "cases": rows, "passed": passed, "failed": failed });
    if json {
        println!("{all:#}");
    } else {
        println!("\n{passed} passed, {failed} failed");
    }
    if let Some(file) = value("--save")
        && let Err(error) = std::fs::write(file, format!("{all:#}\n"))
    {
        println!("writing {file}: {error}");
        return ExitCode::FAILURE;
    }
    // A subject that there is not has passed nothing.
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
