//! What the operator's policy decides.

use axo_core::Policy;
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
    assert_eq!(all[0].record().state, State::Stopped);
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}
