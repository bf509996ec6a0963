//! Sessions that outlive whoever made them, and those that do not.

use std::time::Duration;

use axo_session::agent::proto::{Position, Size, Status};
use axo_session::agent::{ProcessEvent, Run};
use axo_session::{Session, SessionError, SessionId, State};

use crate::site::{Site, hear, looked_at, podman, remove_container, says, site};

/// Rewrites a session's record as another process might have left it.
fn edit(site: &Site, id: &SessionId, from: &str, to: &str) {
    let path = site
        .config
        .data
        .join("sessions")
        .join(id.as_str())
        .join("session.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn the_next_process_finds_everything_as_it_was() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let id = session.record().id;
    says(&session, "echo kept > /tmp/kept").await;
    let count = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 4";
    let run = Run::new(["/bin/sh", "-c", count]).in_background();
    let background = session.run(run).await.unwrap().id();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let terminal = session
        .run(Run::new(["/bin/sh"]).in_terminal(size))
        .await
        .unwrap();
    let shell = terminal.id();
    let (mut output, mut input) = terminal.split();
    input.write(b"x=$((40+2)); echo one-$x\n").await.unwrap();
    hear(&mut output, "one-42\r\n").await;
    let offset = output.offset();
    drop((output, input, session, sessions));
    tokio::time::sleep(Duration::from_millis(500)).await;

    let sessions = site.sessions();
    let (all, damaged) = sessions.list().await.unwrap();
    assert_eq!((all.len(), damaged.len()), (1, 0));
    let session = sessions.find(id.as_str()).await.unwrap();
    assert_eq!(session.record().state, State::Ready);
    assert_eq!(says(&session, "cat /tmp/kept").await, "kept\n");
    let mut process = session
        .attach(background, Position::Start, false)
        .await
        .unwrap();
    assert_eq!(process.lost(), 0);
    let mut heard = Vec::new();
    let exited = loop {
        match process.next().await.unwrap() {
            Some(ProcessEvent::Output(bytes)) => heard.extend_from_slice(bytes),
            Some(ProcessEvent::Exited(exited)) => break exited,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exited.status, Status::Code(4));
    let lines: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(heard).unwrap(), lines);

    // The terminal's shell is the same one.
    let terminal = session
        .attach(shell, Position::Offset(offset), true)
        .await
        .unwrap();
    assert_eq!(terminal.lost(), 0);
    assert!(terminal.info().unwrap().terminal);
    let (mut output, mut input) = terminal.split();
    input
        .resize(Size {
            rows: 33,
            columns: 99,
        })
        .await
        .unwrap();
    input.write(b"stty size; echo two-$x\n").await.unwrap();
    let said = hear(&mut output, "two-42\r\n").await;
    assert!(said.contains("33 99"), "{said}");
    assert!(!said.contains("one-42"), "{said}");
    input.write(b"exit 7\n").await.unwrap();
    let exited = loop {
        if let Some(ProcessEvent::Exited(exited)) = output.next().await.unwrap() {
            break exited;
        }
    };
    assert_eq!(exited.status, Status::Code(7));

    // One process ends it, another that held it sees that.
    let other = site.sessions().find(id.as_str()).await.unwrap();
    session.stop(Duration::from_secs(1)).await.unwrap();
    assert_eq!(
        looked_at(&other).await,
        (State::Stopped, "it was stopped".to_owned())
    );
}

async fn lost(session: &Session, why: &str) {
    let (state, said) = looked_at(session).await;
    assert_eq!(state, State::Lost, "{said}");
    assert!(said.contains(why), "{said}");
}

#[tokio::test]
async fn a_session_whose_container_went_is_lost_and_says_why() {
    let site = site();
    let sessions = site.sessions();
    let removed = site.session(&sessions).await;
    let killed = site.session(&sessions).await;
    let living = site.session(&sessions).await;
    remove_container(&removed);
    podman(&["kill", "--signal", "KILL", &killed.record().id.container()]);
    lost(&removed, "removed by somebody else").await;
    lost(&killed, "status 137").await;
    let refused = removed.run(Run::new(["true"])).await;
    let text = refused.err().unwrap().to_string();
    assert!(
        text.contains("lost") && text.contains("removed by somebody else"),
        "{text}"
    );
    let living = living.record().id;
    assert_eq!(site.containers(), [living.container()]);
    assert_eq!(site.socket_directories(), [living.as_str()]);

    let would = sessions.gc(true).await.unwrap();
    assert_eq!(would.records.len(), 2);
    assert!(sessions.find(removed.record().id.as_str()).await.is_ok());
    let collected = sessions.gc(false).await.unwrap();
    assert_eq!(collected.records, would.records);
    assert!(
        collected.strays.is_empty() && collected.failed.is_empty(),
        "{collected:?}"
    );
    let gone = sessions.find(removed.record().id.as_str()).await;
    assert!(matches!(gone, Err(SessionError::NotFound(_))));
    let left = sessions.find(living.as_str()).await.unwrap();
    assert_eq!(left.record().state, State::Ready);
}

#[tokio::test]
async fn what_a_maker_that_died_left_is_brought_to_an_end() {
    let site = site();
    let sessions = site.sessions();
    let half = site.session(&sessions).await.record().id;
    let whole = site.session(&sessions).await.record().id;
    let stopping = site.session(&sessions).await.record().id;
    drop(sessions);
    edit(&site, &half, "\"ready\"", "\"starting\"");
    edit(&site, &whole, "\"ready\"", "\"starting\"");
    edit(&site, &stopping, "\"ready\"", "\"stopping\"");
    podman(&["rm", "--force", "--time", "0", &half.container()]);

    let sessions = site.sessions();
    lost(
        &sessions.find(half.as_str()).await.unwrap(),
        "who was starting it",
    )
    .await;
    // Its container runs, but whether it was set up nobody knows.
    lost(
        &sessions.find(whole.as_str()).await.unwrap(),
        "who was starting it",
    )
    .await;
    let stopping = sessions.find(stopping.as_str()).await.unwrap();
    assert_eq!(looked_at(&stopping).await.0, State::Stopped);
    assert!(site.containers().is_empty());
}

#[tokio::test]
async fn gc_takes_strays_and_leaves_other_owners_alone() {
    let (mut mine, theirs) = (site(), site());
    // Only the data are an owner's.
    mine.config.runtime.clone_from(&theirs.config.runtime);
    let (my_sessions, their_sessions) = (mine.sessions(), theirs.sessions());
    let their = theirs.session(&their_sessions).await;
    let stray = mine.session(&my_sessions).await.record().id;
    let broken = mine.session(&my_sessions).await.record().id;
    drop(my_sessions);
    std::fs::remove_dir_all(mine.config.data.join("sessions").join(stray.as_str())).unwrap();
    edit(&mine, &broken, "\"generation\": 1", "\"generation\": 99");

    let my_sessions = mine.sessions();
    let (_, damaged) = my_sessions.list().await.unwrap();
    assert_eq!(damaged.len(), 1);
    assert!(matches!(damaged[0].error, SessionError::Record { .. }));
    let collected = my_sessions.gc(false).await.unwrap();
    assert_eq!(collected.strays, std::slice::from_ref(&stray));
    assert!(
        collected.records.is_empty() && collected.failed.is_empty(),
        "{collected:?}"
    );
    // What cannot be read may be a newer version's, and is left.
    assert_eq!(mine.containers(), [broken.container()]);
    let mut sockets = mine.socket_directories();
    let mut left = [broken.to_string(), their.record().id.to_string()];
    sockets.sort();
    left.sort();
    assert_eq!(sockets, left);
    assert_eq!(theirs.containers(), [their.record().id.container()]);
    assert_eq!(says(&their, "echo alive").await, "alive\n");
    let again = my_sessions.gc(false).await.unwrap();
    assert!(
        again.records.is_empty() && again.strays.is_empty(),
        "{again:?}"
    );
}
