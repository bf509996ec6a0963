//! `axocoatl doctor`: whether this host is ready, what is wrong, and how it is repaired.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use axocoatl_isolation::{
    Engine, Listing, Places, Proof, Readiness, Tier, TierProof, reap, reap_containers,
};
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
    let (policy, engine) = policy();
    let mut findings = vec![policy];
    for (what, path) in [
        ("runtime directory", &places.runtime),
        ("data directory", &places.data),
        ("compiled code", &places.wasm_cache()),
        ("user's tools", &places.user_tools()),
        ("image store", &places.images()),
    ] {
        findings.push(directory(what, path, arguments.fix));
    }
    findings.extend(engine.iter().flat_map(tools));
    findings.push(leftovers(&places, arguments.fix));
    findings.push(containers(arguments.fix));

    // The trial makes what it needs in a place of its own, so that examining changes nothing.
    let (engine, home) = match setup::trial_engine() {
        Ok(trial) => trial,
        Err(error) => {
            return fail(printer, error.as_ref(), Exit::Failed);
        }
    };
    let proofs = engine.prove_in(home.path()).await;
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

/// Every tool that cannot be used; one finding if all can.
fn tools(engine: &Engine) -> Vec<Finding> {
    let all = |state| Finding {
        what: "tools".into(),
        state,
    };
    let listings = match engine.registry().list() {
        Ok(listings) => listings,
        Err(error) => {
            let fix = "make the directory readable".into();
            return vec![all(State::Wrong(convert::chain(&error), fix))];
        }
    };
    let broken: Vec<_> = listings.iter().filter_map(broken_tool).collect();
    if broken.is_empty() {
        return vec![all(State::Good(format!("{}, all readable", listings.len())))];
    }
    broken
}

fn broken_tool(listing: &Listing) -> Option<Finding> {
    let error = listing.tool.as_ref().err()?;
    let fix = match &listing.directory {
        Some(directory) => format!("correct or remove {}", directory.display()),
        None => "correct or remove it in the policy".into(),
    };
    Some(Finding {
        what: format!("tool {}", listing.name),
        state: State::Wrong(convert::chain(error), fix),
    })
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

/// What runners left that were killed.
fn containers(fix: bool) -> Finding {
    let state = match reap_containers(!fix) {
        Ok(cgroups) if cgroups.is_empty() => State::Good("none".into()),
        Ok(cgroups) if fix => State::Repaired(format!("{} cgroups removed", cgroups.len())),
        Ok(cgroups) => State::Wrong(
            format!("{} cgroups of dead runners", cgroups.len()),
            "axocoatl gc".into(),
        ),
        Err(e) => State::Wrong(
            format!("the host's cgroups cannot be listed: {e}"),
            "check that /sys/fs/cgroup may be read".into(),
        ),
    };
    Finding {
        what: "leftover containers".into(),
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
