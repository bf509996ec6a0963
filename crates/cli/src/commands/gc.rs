//! `axocoatl gc`: removes what dead processes left.

use std::collections::HashSet;
use std::path::PathBuf;

use axocoatl_isolation::images::Store;
use axocoatl_isolation::sessions::{Collected, Damaged, SessionError, SessionId, open};
use axocoatl_isolation::{Places, Policy, Reaped, reap, reap_containers};
use serde_json::json;

use super::fail;
use crate::args;
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::setup;

/// Where cgroups are, for messages.
const CGROUPS: &str = "/sys/fs/cgroup";

pub(super) async fn run(arguments: &args::Gc, printer: &Printer) -> Exit {
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let sessions = match sessions(&places, arguments.dry_run).await {
        Ok(sessions) => sessions,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let own = places.clone();
    let mut places = vec![places.owners()];
    // What is not ours alone is somebody else's, and none of our business.
    places.extend(Some(setup::trials()).filter(|trials| setup::is_ours_alone(trials)));
    let mut reaped = Reaped::default();
    for owners in places {
        match reap(&owners, arguments.dry_run) {
            Ok(more) => {
                reaped.removed.extend(more.removed);
                reaped.failed.extend(more.failed);
                reaped.living += more.living;
            }
            Err(error) => return fail(printer, &error, Exit::Failed),
        }
    }
    let cgroups = reap_containers(arguments.dry_run).unwrap_or_else(|error| {
        let failed = (PathBuf::from(CGROUPS), error.to_string());
        reaped.failed.push(failed);
        Vec::new()
    });
    let machines = machines(&own, arguments.dry_run).unwrap_or_else(|error| {
        reaped.failed.push((own.data.join("microvm"), error));
        Vec::new()
    });
    reaped.failed.extend(
        sessions
            .failed
            .iter()
            .map(|(id, error)| (PathBuf::from(id.container()), convert::chain(error))),
    );
    let podman = sessions.podman.as_ref().map(|error| convert::chain(error));
    if let Some(why) = &podman {
        printer.note(&format!("podman's containers were not looked at: {why}"));
    }
    for damaged in &sessions.damaged {
        let why = convert::chain(&damaged.error);
        printer.note(&format!(
            "session {} stays, since nobody can tell what has become of it: {why}",
            damaged.id
        ));
    }
    let told = |ids: &[SessionId]| -> Vec<String> { ids.iter().map(ToString::to_string).collect() };
    let (ended, strays) = (told(&sessions.records), told(&sessions.strays));
    let verb = if arguments.dry_run {
        "would remove"
    } else {
        "removed"
    };
    printer.result(
        || {
            json!({
                "dry_run": arguments.dry_run,
                "removed": convert::paths(&reaped.removed),
                "cgroups": convert::paths(&cgroups),
                "machines": convert::paths(&machines),
                "sessions": ended.iter().chain(&strays).collect::<Vec<_>>(),
                "podman_not_looked_at": podman,
                "damaged": sessions.damaged.iter().map(damaged).collect::<Vec<_>>(),
                "living": reaped.living,
                "failed": reaped.failed.iter().map(|(path, why)| json!({"path": convert::path(path), "error": why})).collect::<Vec<_>>(),
            })
        },
        || {
            let mut text = format!(
                "{verb} {} directories and {} cgroups of dead processes; \
                 {} directories belong to living ones",
                reaped.removed.len(),
                cgroups.len(),
                reaped.living
            );
            for path in reaped.removed.iter().chain(&cgroups).chain(&machines) {
                text.push_str(&format!("\n{verb} {}", path.display()));
            }
            for id in &ended {
                text.push_str(&format!("\n{verb} session {id}, which has ended"));
            }
            for id in &strays {
                text.push_str(&format!("\n{verb} session {id}, which had no record"));
            }
            for (path, why) in &reaped.failed {
                text.push_str(&format!("\nnot removed: {}: {why}", path.display()));
            }
            text
        },
    );
    if !reaped.failed.is_empty() {
        Exit::Failed
    } else if podman.is_some() || !sessions.damaged.is_empty() {
        Exit::Unwell
    } else {
        Exit::Success
    }
}

fn damaged(damaged: &Damaged) -> serde_json::Value {
    json!({ "id": damaged.id.as_str(), "error": convert::chain(&damaged.error) })
}

/// What machines are made of and nobody uses any more: disks of images that are gone, what was
/// replaced, what was not used for a month.
fn machines(places: &Places, dry_run: bool) -> Result<Vec<PathBuf>, String> {
    let images: HashSet<String> = match places.images().is_dir() {
        false => HashSet::new(),
        true => Store::open(&places.images())
            .and_then(|store| store.list())
            .map_err(|error| convert::chain(&error))?
            .iter()
            .map(|image| image.digest.trim_start_matches("sha256:").to_owned())
            .collect(),
    };
    let keep = |digest: &str| images.contains(digest);
    match axocoatl_isolation::machines::gc(&places.data, &places.data, &keep, dry_run) {
        Ok(garbage) => Ok(garbage.into_iter().map(|one| one.path).collect()),
        Err(error) => Err(convert::chain(&error)),
    }
}

/// What ended sessions left, if this user ever had one.
async fn sessions(places: &Places, dry_run: bool) -> Result<Collected, SessionError> {
    if !places.data.join("sessions").is_dir() {
        return Ok(Collected::default());
    }
    let sessions = open(places.clone(), Policy::default())?;
    sessions.gc(dry_run).await
}
