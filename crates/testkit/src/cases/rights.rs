//! A tool stays who it is.

use std::os::unix::fs::PermissionsExt;

use axo_core::{GrantKind, MountMode};
use serde_json::{Value, json};

use super::Need::{Grant, Kernel};
use super::host::{EACCES, EINVAL, EPERM, all_refused, edit};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

/// No such attribute on this file system.
const EOPNOTSUPP: i64 = 95;

fn become_root(outcome: &mut axo_core::Outcome) {
    edit(outcome, |found| {
        for who in ["before", "after"] {
            found[who]["uid"] = json!([0, 0, 0]);
        }
        found["given"]["is"]["uid"] = json!([65534, 0, 0]);
    });
}

/// `who` is a user other than root, in all of its three identities, and root's group is not among its
/// groups.
fn unprivileged(who: &Value) -> Result<(), String> {
    for ids in ["uid", "gid"] {
        let ids = who[ids].as_array();
        ensure(
            ids.is_some_and(|ids| {
                ids.len() == 3 && ids[0] != 0 && ids.iter().all(|id| *id == ids[0])
            }),
            || format!("the tool is {who}"),
        )?;
    }
    let groups = who["groups"].as_array();
    ensure(
        groups.is_some_and(|groups| groups.iter().all(|group| *group != 0)),
        || format!("the tool is {who}"),
    )
}

pub(super) const CASES: &[Case] = &[
    case!(
        nobody_becomes_somebody_else,
        "threat 27",
        [Kernel],
        Sabotage::Outcome(become_root),
        |rig| {
            let found = output(&rig.call(Request::new("setuid", json!({}))).await?)?;
            unprivileged(&found["before"])?;
            same("the user afterwards", &found["after"], &found["before"])?;
            for call in [
                "setuid",
                "setresuid",
                "setgid",
                "setresgid",
                "setgroups",
                "chown",
                "chmod",
            ] {
                // EINVAL: the namespace does not even know that user.
                all_refused(&json!({ call: found[call] }), &[EPERM, EINVAL])?;
            }
            for call in ["file_capability", "raise_ambient"] {
                let allowed = &[EPERM, EACCES, EINVAL, EOPNOTSUPP];
                all_refused(&json!({ call: found[call] }), allowed)?;
            }
            let copy = &found["own_copy"]["is"];
            ensure(copy.is_null() || *copy == found["before"], || {
                format!("its set-user-id copy is {copy}")
            })
        }
    ),
    case!(
        a_set_user_id_program_of_the_host_changes_nothing,
        "threat 27",
        [Kernel, Grant(GrantKind::Mounts)],
        Sabotage::Outcome(become_root),
        |rig| {
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            let program = host.path().join("probe");
            let mode = |path, mode| {
                std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
                    .map_err(|e| format!("{e}"))
            };
            mode(host.path(), 0o777)?;
            let call = |op: &str| {
                Request::new(op, json!({"path": "/data/probe"})).mount(
                    host.path(),
                    "/data",
                    MountMode::ReadWrite,
                )
            };
            rig.call(call("copy_self")).await?;
            // Given to whoever tests, root above all: chown clears the bits, so the mode comes last.
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            rustix::fs::chown(&program, Some(user), Some(group)).map_err(|e| e.to_string())?;
            mode(&program, 0o6755)?;
            let found = output(&rig.call(call("setuid")).await?)?;
            same("the user afterwards", &found["after"], &found["before"])?;
            let given = &found["given"];
            // Where programs of mounts may be run at all.
            ensure(
                given["exec"] == EACCES || given["is"] == found["before"],
                || format!("it is {given}"),
            )
        }
    ),
];
