//! What was left behind, and may be removed.

use axocoatl_isolation::{Places, reap, reap_containers};

use super::{Finding, State};

/// What dead processes left.
pub(super) fn of_processes(places: &Places, fix: bool) -> Finding {
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
pub(super) fn of_containers(fix: bool) -> Finding {
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
