//! The directory of this host that a session works in, and what a session can do through it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use axo_core::Policy;
use axo_image::Silent;
use axo_session::agent::{Copied, CopyError, CopyLimits};
use axo_session::{RefusedReason, SessionError, SessionSpec, State, admit};

use crate::site::{IMAGE, says, site};

/// Somebody puts another directory, or a link, in its place after it was looked at.
#[tokio::test]
async fn a_directory_that_is_swapped_before_it_is_mounted_is_refused() {
    let site = site();
    let sessions = site.sessions();
    let home = site.path().canonicalize().unwrap();
    let secret = home.join("secret");
    std::fs::create_dir(&secret).unwrap();
    for (number, by_link) in [true, false].into_iter().enumerate() {
        let work = home.join(format!("work-{number}"));
        std::fs::create_dir(&work).unwrap();
        let mut spec = SessionSpec::new(IMAGE);
        spec.directory = Some(work.clone());
        spec.setup = vec!["touch was-here".to_owned()];
        let mut policy = Policy::default();
        policy.sessions.setup_commands = true;
        let admitted = admit(spec, &policy).unwrap();
        std::fs::rename(&work, work.with_extension("away")).unwrap();
        if by_link {
            symlink(&secret, &work).unwrap();
        } else {
            std::fs::rename(&secret, &work).unwrap();
        }
        let made = sessions.create(&admitted, Arc::new(Silent)).await;
        let error = made.expect_err("it is made");
        let why = error.to_string();
        let SessionError::Refused(refused) = error else {
            panic!("{why}");
        };
        assert!(matches!(refused.reason, RefusedReason::Directory { .. }));
        assert!(why.contains("another came to its place"), "{why}");
        assert!(site.containers().is_empty());
        // Nothing ran there.
        assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    }
    let (all, _) = sessions.list().await.unwrap();
    let states: Vec<State> = all.iter().map(|session| session.record().state).collect();
    assert_eq!(states, [State::Lost, State::Lost]);
}

/// Attack: the session makes links in its directory, and hopes that somebody copies through them.
#[tokio::test]
async fn no_copy_goes_through_a_link_that_a_session_made() {
    let site = site();
    let sessions = site.sessions();
    let home = site.path().canonicalize().unwrap();
    let (work, elsewhere) = (home.join("project"), home.join("elsewhere"));
    for directory in [&work, &elsewhere] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write(elsewhere.join("key"), "of the host").unwrap();
    let session = site
        .create(&sessions, |spec| spec.directory = Some(work.clone()))
        .await
        .unwrap();
    // Another session of this owner copies: its files know of all.
    let other = site.session(&sessions).await;
    let plant = format!(
        "ln -s {0} out; ln -s {0}/key file; mkdir deep; ln -s ../../elsewhere deep/out",
        elsewhere.display()
    );
    says(&session, &plant).await;
    for from in [&session, &other] {
        says(from, "echo planted > /tmp/key").await;
        let files = from.files("/tmp").unwrap();
        let mut unheard = |_: &Copied| ();
        for to in ["out/new", "deep/out/new", "out/../project/out/new"] {
            let limits = CopyLimits::default();
            let copied = files
                .copy_out(Path::new("key"), &work.join(to), limits, &mut unheard)
                .await;
            assert!(matches!(copied, Err(CopyError::Led(_))), "{to}: {copied:?}");
        }
        for through in ["out/key", "deep/out/key", "out/.."] {
            let copied = files
                .copy_in(&work.join(through), Path::new("stolen"), &mut unheard)
                .await;
            assert!(
                matches!(copied, Err(CopyError::Led(_))),
                "{through}: {copied:?}"
            );
        }
        // A link that is copied itself stays one.
        let file = work.join("file");
        let link = files.copy_in(&file, Path::new("link"), &mut unheard);
        assert_eq!(link.await.unwrap().links, 1);
        let over = files
            .copy_out(Path::new("key"), &file, CopyLimits::default(), &mut unheard)
            .await;
        assert!(matches!(over, Err(CopyError::Host { .. })), "{over:?}");
        let name = from.record().id.to_string();
        let into = work.join("deep").join(name);
        let copied = files
            .copy_out(Path::new("key"), &into, CopyLimits::default(), &mut unheard)
            .await;
        copied.unwrap();
        assert_eq!(std::fs::read(into).unwrap(), b"planted\n");
    }
    let left: Vec<_> = std::fs::read_dir(&elsewhere).unwrap().flatten().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(
        std::fs::read(elsewhere.join("key")).unwrap(),
        b"of the host"
    );
}
