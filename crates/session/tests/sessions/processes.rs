//! Commands of a session, and its end.

use std::time::Duration;

use axo_session::agent::proto::Status;
use axo_session::agent::{ProcessEvent, Run};
use axo_session::{AgentError, SessionError, SessionName, State};
use tokio::task::JoinSet;

use crate::site::{KEEP, noise, says, shell, site};

#[tokio::test]
async fn a_command_runs_and_a_stop_leaves_nothing() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    assert_eq!(session.record().state, State::Ready);
    assert_eq!(site.containers(), [session.record().id.container()]);

    let finished = shell(&session, r"printf 'a\377\000b'; printf '\376' >&2; exit 3").await;
    assert_eq!(finished.exited.status, Status::Code(3));
    assert_eq!(finished.stdout, b"a\xff\0b");
    assert_eq!(finished.stderr, b"\xfe");
    assert!(!finished.cut);
    let killed = shell(&session, "kill -9 $$").await;
    assert_eq!(killed.exited.status, Status::Signal(9));
    let absent = session.output(Run::new(["no-such-program"]), KEEP).await;
    assert!(
        matches!(&absent, Err(SessionError::Agent(AgentError::Failed(_)))),
        "{absent:?}"
    );

    session.stop(Duration::from_secs(2)).await.unwrap();
    let record = session.record();
    assert_eq!(record.state, State::Stopped);
    assert_eq!(record.why.as_deref(), Some("it was stopped"));
    assert!(record.ended >= Some(record.created));
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
    // Again is no error, and nothing runs in what ended.
    session.stop(Duration::from_secs(2)).await.unwrap();
    let refused = session.run(Run::new(["true"])).await;
    assert!(matches!(refused, Err(SessionError::NotReady { .. })));

    // What is on disk says the same.
    let found = site.sessions().find(record.id.as_str()).await.unwrap();
    assert_eq!(found.record(), record);
}

#[tokio::test]
async fn five_megabytes_go_in_and_come_out_unchanged() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let sent = noise(5_000_000);
    let process = session.run(Run::new(["cat"]).with_input()).await.unwrap();
    let (mut output, mut input) = process.split();
    let mut heard = Vec::new();
    let listening = async {
        loop {
            match output.next().await.unwrap() {
                Some(ProcessEvent::Output(bytes)) => heard.extend_from_slice(bytes),
                Some(ProcessEvent::Exited(exited)) => break exited,
                other => panic!("{other:?}"),
            }
        }
    };
    let writing = async {
        input.write(&sent).await.unwrap();
        input.end().await.unwrap();
    };
    let (exited, ()) = tokio::join!(listening, writing);
    assert_eq!(exited.status, Status::Code(0));
    assert!(heard == sent, "{} bytes of {}", heard.len(), sent.len());
}

#[tokio::test]
async fn a_stop_ends_what_does_not_listen() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    let run = Run::new(["/bin/sh", "-c", deaf]).in_background();
    session.run(run).await.unwrap();
    let started = std::time::Instant::now();
    session.stop(Duration::from_secs(1)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(session.record().state, State::Stopped);
    assert!(site.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_commands_at_once() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let mut commands = JoinSet::new();
    for number in 0..100 {
        let session = session.clone();
        commands.spawn(async move {
            let said = says(&session, &format!("sleep 1; echo {number}; exit 0")).await;
            assert_eq!(said, format!("{number}\n"));
        });
    }
    let mut done = 0;
    while let Some(ended) = commands.join_next().await {
        ended.unwrap();
        done += 1;
    }
    assert_eq!(done, 100);
    assert!(session.agent().unwrap().hello().await.is_ok());
}

#[tokio::test]
async fn a_name_is_one_sessions_at_a_time() {
    let site = site();
    let sessions = site.sessions();
    let named = || Some(SessionName::parse("work").unwrap());
    let first = site.create(&sessions, |s| s.name = named()).await.unwrap();
    let second = site.create(&sessions, |s| s.name = named()).await;
    assert!(matches!(second, Err(SessionError::NameTaken(name)) if name == "work"));
    let other = site.session(&sessions).await;
    assert_ne!(first.record().id, other.record().id);

    // Each has its own files and processes.
    says(&first, "echo mine > /tmp/mine").await;
    assert_eq!(says(&other, "ls /tmp").await, "");
    let found = sessions.find("work").await.unwrap();
    assert_eq!(found.record().id, first.record().id);
    let id = other.record().id;
    let found = sessions.find(&id.as_str()[..8]).await.unwrap();
    assert_eq!(found.record().id, id);
    assert!(matches!(
        sessions.find("absent").await,
        Err(SessionError::NotFound(_))
    ));

    sessions.remove(&first).await.unwrap();
    assert!(matches!(
        sessions.find("work").await,
        Err(SessionError::NotFound(_))
    ));
    assert_eq!(site.containers(), [id.container()]);
}
