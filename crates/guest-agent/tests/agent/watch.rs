//! Watching.

use std::fs;

use axo_guest_proto::files::{Event, EventKind};
use axo_guest_proto::{Reply, Request};

use crate::support::{Agent, Client};

fn watching(agent: &Agent, path: &str, recursive: bool) -> Client {
    let mut client = agent.ask(&Request::Watch {
        place: agent.place(path),
        recursive,
    });
    assert_eq!(client.reply(), Reply::Watching);
    client
}

/// Events until one is as wanted.
fn until(client: &mut Client, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut all = Vec::new();
    while !all.iter().any(&wanted) {
        match client.reply() {
            Reply::Events(events) => all.extend(events),
            other => panic!("{other:?} after {all:?}"),
        }
    }
    all
}

fn is(event: &Event, kind: EventKind, path: &str) -> bool {
    event.kind == kind && event.path == path.as_bytes()
}

#[test]
fn what_happens_in_a_directory_is_told() {
    let agent = Agent::new();
    agent.place("");
    let root = agent.root();
    let mut client = watching(&agent, "", false);
    fs::write(root.join("file"), "x").unwrap();
    let seen = until(&mut client, |e| is(e, EventKind::Written, "file"));
    assert!(is(&seen[0], EventKind::Created, "file"));
    fs::rename(root.join("file"), root.join("other")).unwrap();
    let seen = until(&mut client, |e| matches!(e.kind, EventKind::MovedTo(_)));
    let from = seen.iter().find_map(|e| match e.kind {
        EventKind::MovedFrom(cookie) if e.path == b"file" => Some(cookie),
        _ => None,
    });
    assert!(
        seen.iter()
            .any(|e| e.kind == EventKind::MovedTo(from.unwrap()) && e.path == b"other")
    );
    fs::remove_file(root.join("other")).unwrap();
    until(&mut client, |e| is(e, EventKind::Removed, "other"));
    // Not in directories in it.
    fs::create_dir(root.join("in")).unwrap();
    fs::write(root.join("in/file"), "x").unwrap();
    fs::write(root.join("last"), "x").unwrap();
    let seen = until(&mut client, |e| is(e, EventKind::Written, "last"));
    assert!(seen.iter().all(|e| !e.path.starts_with(b"in/")));
}

#[test]
fn a_tree_is_watched_as_it_grows() {
    let agent = Agent::new();
    agent.place("");
    let root = agent.root();
    fs::create_dir_all(root.join("a/b")).unwrap();
    let mut client = watching(&agent, "", true);
    fs::write(root.join("a/b/one"), "x").unwrap();
    until(&mut client, |e| is(e, EventKind::Written, "a/b/one"));
    // What is made before the new directory is watched is told as well.
    fs::create_dir_all(root.join("new/deep/er")).unwrap();
    fs::write(root.join("new/deep/er/two"), "x").unwrap();
    until(&mut client, |e| {
        is(e, EventKind::Created, "new/deep/er/two")
    });
    // A directory that moves has its new name.
    fs::rename(root.join("a"), root.join("z")).unwrap();
    until(&mut client, |e| {
        matches!(e.kind, EventKind::MovedTo(_)) && e.path == b"z" && e.directory
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    fs::write(root.join("z/b/three"), "x").unwrap();
    until(&mut client, |e| is(e, EventKind::Written, "z/b/three"));
    fs::remove_dir_all(&root).unwrap();
    until(&mut client, |e| e.kind == EventKind::Ended);
    assert_eq!(client.reply(), Reply::Done);
    assert!(client.is_closed());
}

#[test]
fn who_does_not_listen_is_told_that_it_missed_something() {
    let agent = Agent::new();
    agent.place("");
    let mut client = watching(&agent, "", false);
    // More than the kernel and a socket hold.
    for round in 0..60_000 {
        let name = agent.root().join(format!("{:0>200}", round % 100));
        if round % 200 < 100 {
            fs::write(name, "").unwrap();
        } else {
            fs::remove_file(name).unwrap();
        }
    }
    until(&mut client, |e| e.kind == EventKind::Overflow);
    fs::write(agent.root().join("last"), "").unwrap();
    until(&mut client, |e| is(e, EventKind::Created, "last"));
}

#[test]
fn a_file_is_watched() {
    let agent = Agent::new();
    agent.place("");
    let file = agent.root().join("file");
    fs::write(&file, "x").unwrap();
    let mut client = watching(&agent, "file", true);
    fs::write(&file, "y").unwrap();
    until(&mut client, |e| is(e, EventKind::Written, ""));
    fs::remove_file(&file).unwrap();
    until(&mut client, |e| e.kind == EventKind::Ended);
}
