//! A tool stays who it is.

use std::os::unix::fs::PermissionsExt;

use axo_core::{GrantKind, MountMode};
use serde_json::{Value, json};

use super::Need::{Grant, Kernel};
use super::host::{EACCES, EINVAL, ENOSYS, EPERM, all_refused, edit};
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

/// `S_ISUID` and `S_ISGID`.
const SET_ID_BITS: u32 = 0o6000;

/// What the probe found of one way to give a file its mode: with no set-ID bit it works, where the
/// tool has that call at all; with one, no file has it.
fn no_set_id(way: &str, found: &Value) -> Result<(), String> {
    // Another architecture's calls need not be there; the plain ones must be.
    let optional = way.starts_with("x32") || way.starts_with("i386");
    let plain = &found["plain"];
    ensure(
        optional || plain["mode"] == 0o755 || plain["errno"] == ENOSYS,
        || format!("{way} does not even work without set-ID bits: {plain}"),
    )?;
    for bits in ["user", "group", "both"] {
        let found = &found[bits];
        let mode = found["mode"].as_i64();
        let mode = mode.ok_or_else(|| format!("{way} was not tried: {found}"))?;
        // -1: there is no file.
        let has = mode >= 0 && mode & i64::from(SET_ID_BITS) != 0;
        ensure(!has, || format!("{way} made a file of mode {mode:o}"))?;
        // For directories the kernel itself takes the bits away.
        ensure(way.starts_with("mkdir") || found["errno"] != 0, || {
            format!("{way} said that it did: {found}")
        })?;
    }
    Ok(())
}

pub(super) const CASES: &[Case] = &[
    case!(
        no_file_becomes_set_id_by_any_call,
        "threat 27",
        [Kernel, Grant(GrantKind::Mounts)],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["fchmodat"]["user"] = json!({"errno": 0, "mode": 0o4755});
            });
        }),
        |rig| {
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            std::fs::set_permissions(host.path(), PermissionsExt::from_mode(0o777))
                .map_err(|e| e.to_string())?;
            for directory in ["/tmp", "/data"] {
                let request = Request::new("set_id", json!({"path": directory})).mount(
                    host.path(),
                    "/data",
                    MountMode::ReadWrite,
                );
                let found = output(&rig.call(request).await?)?;
                let ways = found.as_object().filter(|ways| ways.len() >= 8);
                for (way, found) in ways.ok_or_else(|| format!("too few ways: {found}"))? {
                    no_set_id(way, found).map_err(|why| format!("in {directory}: {why}"))?;
                }
            }
            // What it made there is whose the directory is, on the host.
            let mut made = 0;
            for entry in std::fs::read_dir(host.path()).map_err(|e| e.to_string())? {
                let entry = entry.map_err(|e| e.to_string())?;
                let mode = entry.metadata().map_err(|e| e.to_string())?.permissions();
                made += 1;
                ensure(mode.mode() & SET_ID_BITS == 0, || {
                    format!("the host has {:?} of {:o}", entry.path(), mode.mode())
                })?;
            }
            ensure(made > 0, || "nothing was made in the mount".into())
        }
    ),
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
