//! `axocoatl doctor`: whether this host is ready, what is wrong, and how it is repaired.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use axocoatl_isolation::{Places, Proof, Tier, TierProof, reap};
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
    /// It is wrong; the second text says what to do.
    Wrong(String, String),
}

pub(super) async fn run(arguments: &args::Doctor, printer: &Printer) -> Exit {
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let mut findings = vec![policy()];
    for (what, path) in [
        ("runtime directory", &places.runtime),
        ("data directory", &places.data),
        ("compiled code", &places.wasm_cache()),
        ("user's tools", &places.user_tools()),
    ] {
        findings.push(directory(what, path, arguments.fix));
    }
    findings.push(leftovers(&places, arguments.fix));

    // The trial makes what it needs in a place of its own, so that examining changes nothing.
    let (engine, _home) = match setup::trial_engine() {
        Ok(trial) => trial,
        Err(error) => {
            return fail(printer, error.as_ref(), Exit::Failed);
        }
    };
    let proofs = engine.prove().await;
    show(&findings, &proofs, printer);
    let wasm_works = proofs
        .iter()
        .any(|p| p.tier == Tier::Wasm && matches!(p.proof, Proof::Works { .. }));
    let all_good = findings
        .iter()
        .all(|finding| !matches!(finding.state, State::Wrong(..)));
    if wasm_works && all_good {
        Exit::Success
    } else {
        Exit::Unwell
    }
}

/// Whether the policy can be read and is valid.
fn policy() -> Finding {
    let what = "policy".to_owned();
    let state = match setup::builder().and_then(|(builder, places)| Ok((builder.build()?, places)))
    {
        Ok((_, places)) if places.policy().exists() => {
            State::Good(places.policy().display().to_string())
        }
        Ok((_, places)) => State::Good(format!(
            "defaults; {} does not exist",
            places.policy().display()
        )),
        Err(error) => State::Wrong(
            convert::chain(&error),
            "correct the file, or remove it for the defaults".into(),
        ),
    };
    Finding { what, state }
}

/// Whether a directory of ours is ours alone. One that does not exist yet is made when it is needed.
fn directory(what: &str, path: &Path, fix: bool) -> Finding {
    let shown = path.display().to_string();
    let state = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            match nearest_parent_is_writable(path) {
                true => State::Good(format!("{shown} (made when needed)")),
                false => State::Wrong(
                    format!("{shown} does not exist and cannot be made"),
                    "make it as its owner, or set AXOCOATL_HOME to a directory of yours".into(),
                ),
            }
        }
        Err(e) => State::Wrong(
            format!("{shown}: {e}"),
            "check the permissions of its parents".into(),
        ),
        Ok(metadata) if !metadata.is_dir() => State::Wrong(
            format!("{shown} is no directory"),
            format!("remove it: rm {shown}"),
        ),
        Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => State::Wrong(
            format!("{shown} belongs to user {}", metadata.uid()),
            format!(
                "as root: chown -R {} {shown}",
                rustix::process::geteuid().as_raw()
            ),
        ),
        Ok(metadata) if metadata.mode() & 0o022 != 0 => others_can_write(path, fix),
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() => State::Wrong(
            format!("{shown} cannot be written"),
            format!("chmod u+rwx {shown}, or free the disk"),
        ),
        Ok(_) => State::Good(shown),
    };
    Finding {
        what: what.to_owned(),
        state,
    }
}

fn others_can_write(path: &Path, fix: bool) -> State {
    let shown = path.display().to_string();
    let problem = format!("{shown} can be written by others");
    let command = format!("chmod go-w {shown}");
    if !fix {
        return State::Wrong(problem, command);
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)) {
        Ok(()) => State::Repaired(problem),
        Err(e) => State::Wrong(
            format!("{problem}, and that cannot be changed: {e}"),
            command,
        ),
    }
}

fn nearest_parent_is_writable(path: &Path) -> bool {
    path.ancestors()
        .find(|path| path.exists())
        .is_some_and(|path| {
            path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
        })
}

/// What dead processes left.
fn leftovers(places: &Places, fix: bool) -> Finding {
    let state = match reap(&places.owners(), !fix) {
        Ok(reaped) if !reaped.failed.is_empty() => State::Wrong(
            format!(
                "{} directories of dead processes cannot be removed",
                reaped.failed.len()
            ),
            format!("remove them beneath {}", places.owners().display()),
        ),
        Ok(reaped) if reaped.removed.is_empty() => {
            State::Good(format!("none; {} processes run", reaped.living))
        }
        Ok(reaped) if fix => {
            State::Repaired(format!("{} directories removed", reaped.removed.len()))
        }
        Ok(reaped) => State::Wrong(
            format!("{} directories of dead processes", reaped.removed.len()),
            "axocoatl gc".into(),
        ),
        Err(e) => State::Wrong(
            e.to_string(),
            "check the permissions of the runtime directory".into(),
        ),
    };
    Finding {
        what: "leftovers".into(),
        state,
    }
}

fn show(findings: &[Finding], proofs: &[TierProof], printer: &Printer) {
    printer.result(
        || {
            let findings: Vec<_> = findings
                .iter()
                .map(|finding| match &finding.state {
                    State::Good(text) => json!({"what": finding.what, "state": "good", "detail": text}),
                    State::Repaired(text) => json!({"what": finding.what, "state": "repaired", "detail": text}),
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
                    State::Wrong(detail, fix) => format!("WRONG     {what}: {detail}\n          repair: {fix}\n"),
                });
            }
            format!("{text}\n{}", tiers::table(proofs))
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_others_can_write_is_found_and_repaired_only_when_asked() {
        let home = std::env::temp_dir().join(format!("axocoatl-doctor-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            directory("x", &home, false).state,
            State::Wrong(..)
        ));
        assert_eq!(mode(&home), 0o777, "examining changes nothing");
        assert!(matches!(
            directory("x", &home, true).state,
            State::Repaired(_)
        ));
        assert_eq!(mode(&home), 0o700);
        assert!(matches!(directory("x", &home, false).state, State::Good(_)));
        std::fs::remove_dir(&home).unwrap();
    }
}
