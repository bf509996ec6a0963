//! What the operator's policy decides.

use std::time::Duration;

use axo_core::Policy;
use axo_session::agent::Run;
use axo_session::{Network, RefusedReason, SessionError, State};

use crate::site::{says, site, site_with};

#[tokio::test]
async fn without_a_policy_there_is_no_foreign_image_no_network_and_no_setup() {
    let site = site();
    let sessions = site.sessions();
    let image = site
        .create(&sessions, |s| s.image = "registry.invalid/other:1".into())
        .await;
    assert!(
        matches!(image, Err(SessionError::ForeignImage(_))),
        "{image:?}"
    );
    let bridge = site
        .create(&sessions, |s| s.network = Network::Bridge)
        .await;
    let refused = |result: Result<_, SessionError>| match result {
        Err(SessionError::Refused(refused)) => refused.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(bridge), RefusedReason::Network);
    let setup = site
        .create(&sessions, |s| s.setup.push("true".into()))
        .await;
    assert_eq!(refused(setup), RefusedReason::Setup);
    let (all, _) = sessions.list().await.unwrap();
    assert!(all.is_empty());
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}

#[tokio::test]
async fn setup_commands_run_in_order_and_a_failing_one_ends_the_session() {
    let mut policy = Policy::default();
    policy.sessions.setup_commands = true;
    let site = site_with(policy);
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| {
            s.setup = vec![
                "echo first > /tmp/log".into(),
                "echo second >> /tmp/log".into(),
            ];
        })
        .await
        .unwrap();
    assert_eq!(says(&session, "cat /tmp/log").await, "first\nsecond\n");
    sessions.remove(&session).await.unwrap();

    let failed = site
        .create(&sessions, |s| {
            s.setup = vec![
                "echo went wrong >&2; exit 9".into(),
                "touch /tmp/never".into(),
            ];
        })
        .await;
    match failed {
        Err(SessionError::Setup {
            command,
            status,
            said,
        }) => {
            assert!(command.starts_with("echo went wrong"), "{command}");
            assert_eq!((status.as_str(), said.as_str()), ("status 9", "went wrong"));
        }
        other => panic!("{other:?}"),
    }
    let (all, _) = sessions.list().await.unwrap();
    assert_eq!(all.len(), 1);
    let record = all[0].record();
    assert_eq!(record.state, State::Lost);
    assert!(record.why.unwrap().contains("went wrong"));
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}

/// Who can write what sessions are made of can have commands run on this host.
#[tokio::test]
async fn a_directory_that_holds_our_own_is_refused() {
    let site = site();
    let sessions = site.sessions();
    let home = site.path().canonicalize().unwrap();
    for directory in [
        home.clone(),
        home.join("data"),
        home.join("data/sessions/shared"),
    ] {
        std::fs::create_dir_all(&directory).unwrap();
        let made = site
            .create(&sessions, |s| s.directory = Some(directory.clone()))
            .await;
        let refused = matches!(&made, Err(SessionError::Refused(refused))
            if matches!(refused.reason, RefusedReason::Directory { .. }));
        assert!(refused, "{}: {made:?}", directory.display());
    }
    assert!(site.containers().is_empty());
}

/// In one process, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_set_up_waits_for_it_and_holds_nobody_up() {
    let mut policy = Policy::default();
    policy.sessions.setup_commands = true;
    let site = site_with(policy);
    let sessions = site.sessions();
    let making = site.create(&sessions, |s| s.setup = vec!["sleep 2".into()]);
    let stopping = async {
        loop {
            let (all, _) = sessions.list().await.unwrap();
            if let [session] = &all[..]
                && !site.containers().is_empty()
            {
                session.stop(Duration::from_secs(1)).await.unwrap();
                return session.record().state;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let both = async { tokio::join!(making, stopping) };
    let (made, state) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .unwrap();
    made.unwrap();
    assert_eq!(state, State::Stopped);
    assert!(site.containers().is_empty());
}

/// A session is nobody's to use before it is set up.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_being_set_up_is_not_ready_and_is_lost_with_its_maker() {
    let mut policy = Policy::default();
    policy.sessions.setup_commands = true;
    let site = site_with(policy);
    let sessions = site.sessions();
    let mut making = Box::pin(site.create(&sessions, |s| {
        s.setup = vec!["sleep 600".into()];
    }));
    let seen = async {
        loop {
            // As another process sees it.
            let (all, _) = site.sessions().list().await.unwrap();
            if let [session] = &all[..]
                && !site.containers().is_empty()
            {
                assert_eq!(session.record().state, State::Starting);
                let early = session.output(Run::new(["true"]), 1).await;
                assert!(
                    matches!(early, Err(SessionError::NotReady { .. })),
                    "{early:?}"
                );
                return session.record().id;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let id = tokio::select! {
        made = &mut making => panic!("{made:?}"),
        id = seen => id,
    };
    drop(making);
    drop(sessions);
    // Its container may still be being made, which is brought to its end first.
    let given_up = async {
        loop {
            let record = site.sessions().find(id.as_str()).await.unwrap().record();
            if record.state != State::Starting {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let record = tokio::time::timeout(Duration::from_secs(60), given_up);
    let record = record.await.expect("it is not left half set up");
    assert_eq!(record.state, State::Lost, "{:?}", record.why);
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}
