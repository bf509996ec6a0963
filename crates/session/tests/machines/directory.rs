//! The directory of a session in a machine: copied in, and brought back.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use axo_session::{SessionError, SyncError, SyncOptions};

use crate::site::{create, sh, site};

const PLAIN: SyncOptions = SyncOptions {
    delete: false,
    force: false,
    dry_run: false,
};

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[tokio::test]
async fn what_a_session_made_of_its_directory_comes_back_and_nothing_else_is_touched() {
    let site = site();
    let work = site.path().join("work");
    let read = |name: &str| std::fs::read_to_string(work.join(name)).unwrap();
    std::fs::create_dir_all(work.join("deep/empty")).unwrap();
    for name in ["kept", "changed", "removed", "theirs", "both", "deep/file"] {
        std::fs::write(work.join(name), name).unwrap();
    }
    std::fs::set_permissions(work.join("kept"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("kept", work.join("link")).unwrap();
    std::os::unix::fs::chown(work.join("changed"), Some(1000), Some(1000)).unwrap();
    std::fs::write(site.path().join("outside"), "outside").unwrap();

    let sessions = site.sessions();
    let directory = work.clone();
    let session = create(&site.config, &sessions, |spec| {
        spec.directory = Some(directory)
    })
    .await
    .unwrap();
    let here = "pwd; cat kept changed deep/file; readlink link; stat -c %a kept; ls deep";
    let seen = sh(&session, here).await;
    let expected = format!(
        "{}\nkeptchangeddeep/filekept\n640\nempty\nfile",
        work.display()
    );
    assert_eq!(seen, expected);
    session.check_brought_back().await.unwrap();

    sh(
        &session,
        "echo -n new > changed; echo -n made > deep/made; chmod 755 deep/made; rm removed; \
         mkdir -p a/b; echo -n c > a/b/c; ln -s ../outside out; echo -n session > both; \
         mkfifo pipe; chmod 755 kept",
    )
    .await;
    // A host that has changed other files meanwhile keeps them.
    std::fs::write(work.join("theirs"), "of the host").unwrap();
    std::fs::write(work.join("fresh"), "of the host").unwrap();
    let error = session.check_brought_back().await.unwrap_err();
    assert!(
        matches!(error, SessionError::NotBroughtBack { .. }),
        "{error}"
    );
    let dry = SyncOptions {
        dry_run: true,
        ..PLAIN
    };
    let written = paths(&[
        "a",
        "a/b",
        "a/b/c",
        "both",
        "changed",
        "deep/made",
        "kept",
        "out",
    ]);
    let would = session.sync(dry).await.unwrap();
    assert_eq!(
        (&would.written, &would.left),
        (&written, &paths(&["removed"]))
    );
    assert_eq!(read("changed"), "changed");

    std::fs::write(work.join("both"), "host").unwrap();
    let would = session.sync(dry).await.unwrap();
    assert!(would.is_refused() && would.written.len() == written.len() - 1);
    assert_eq!(would.both, paths(&["both"]));
    let error = session.sync(PLAIN).await.unwrap_err();
    let SessionError::Sync(SyncError::Conflicts { both, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(both, paths(&["both"]));
    assert_eq!(
        (read("changed").as_str(), read("both").as_str()),
        ("changed", "host")
    );

    let force = SyncOptions {
        force: true,
        ..PLAIN
    };
    let synced = session.sync(force).await.unwrap();
    assert_eq!(synced.written, written);
    assert_eq!(
        (synced.left, synced.skipped),
        (paths(&["removed"]), paths(&["pipe"]))
    );
    assert_eq!(
        (read("changed"), read("both")),
        ("new".into(), "session".into())
    );
    assert_eq!(
        (read("a/b/c"), read("theirs")),
        ("c".into(), "of the host".into())
    );
    let metadata = std::fs::metadata(work.join("changed")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1000, 1000));
    let mode = |name| std::fs::metadata(work.join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("kept"), mode("deep/made")), (0o750, 0o755));
    assert!(work.join("removed").exists() && !work.join("pipe").exists());
    // A link is a link, and what it leads to is nobody's.
    assert_eq!(
        std::fs::read_link(work.join("out")).unwrap(),
        Path::new("../outside")
    );
    assert_eq!(
        std::fs::read_to_string(site.path().join("outside")).unwrap(),
        "outside"
    );
    session.check_brought_back().await.unwrap();

    // A link of the session's in the place of a directory leads nothing astray.
    sh(
        &session,
        "rm -r a; ln -s .. a; rm out; mkdir out; echo -n x > out/x",
    )
    .await;
    let error = session.sync(PLAIN).await.unwrap_err();
    let SessionError::Sync(SyncError::Conflicts { in_the_way, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(in_the_way, paths(&["a"]));
    let delete = SyncOptions {
        delete: true,
        ..PLAIN
    };
    let synced = session.sync(delete).await.unwrap();
    assert_eq!(synced.written, paths(&["a", "out", "out/x"]));
    assert_eq!(synced.removed, paths(&["a/b", "a/b/c", "removed"]));
    assert_eq!(std::fs::read_link(work.join("a")).unwrap(), Path::new(".."));
    assert_eq!(read("out/x"), "x");
    assert!(!work.join("removed").exists() && work.join("fresh").exists());
    assert!(!site.path().join("b").exists());
    let again = session.sync(delete).await.unwrap();
    assert!(again.is_nothing(), "{again:?}");

    sessions.remove(&session).await.unwrap();
    site.is_clean();
}

#[tokio::test]
async fn one_odd_file_and_a_directory_that_went_keep_nothing_else_from_coming_back() {
    let site = site();
    let work = site.path().join("work");
    let read = |name: &str| std::fs::read_to_string(work.join(name)).unwrap();
    std::fs::create_dir_all(work.join("went")).unwrap();
    for name in ["closed", "shut", "f", "went/f"] {
        std::fs::write(work.join(name), name).unwrap();
    }
    // In a session nobody passes over this.
    std::fs::set_permissions(work.join("shut"), PermissionsExt::from_mode(0o040)).unwrap();
    let sessions = site.sessions();
    let directory = work.clone();
    let session = create(&site.config, &sessions, |spec| {
        spec.directory = Some(directory)
    })
    .await
    .unwrap();
    // What the session has room for once has it more often here, and a hole is no room at all.
    sh(
        &session,
        "chmod 000 closed; mkdir -p none/below; chmod 000 none; truncate -s 120M hole; \
         head -c 9000000 /dev/urandom > large; for n in 1 2 3 4 5 6 7 8 9; do ln large large$n; done; \
         echo -n new > f; echo -n new > went/new",
    )
    .await;
    std::fs::remove_dir_all(work.join("went")).unwrap();
    let error = session.check_brought_back().await.unwrap_err();
    let refused = matches!(error, SessionError::NotBroughtBack { .. });
    assert!(refused, "{error}");
    let error = session.sync(PLAIN).await.unwrap_err();
    let SessionError::Sync(SyncError::Conflicts { both, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(both, paths(&["went"]));
    let force = SyncOptions {
        force: true,
        delete: true,
        ..PLAIN
    };
    let mut synced = session.sync(force).await.unwrap();
    synced.unread.sort();
    assert_eq!(synced.unread, paths(&["closed", "none"]));
    assert_eq!(synced.removed, paths(&[]));
    assert_eq!(
        (read("closed"), read("shut"), read("f"), read("went/new")),
        ("closed".into(), "shut".into(), "new".into(), "new".into())
    );
    let hole = std::fs::metadata(work.join("hole")).unwrap();
    assert_eq!(hole.len(), 120 << 20);
    assert!(hole.blocks() < 1000, "{}", hole.blocks());
    // Made readable, they come back; and what a killed sync left is not kept.
    let error = session.check_brought_back().await.unwrap_err();
    let refused = matches!(error, SessionError::NotBroughtBack { count: 2, .. });
    assert!(refused, "{error}");
    sh(&session, "chmod -R u+rwX closed none").await;
    let synced = session.sync(force).await.unwrap();
    assert_eq!(synced.written, paths(&["none/below"]));
    session.check_brought_back().await.unwrap();
    let id = session.record().id;
    let beside = site.config.data.join("sessions").join(id.as_str());
    let beside = beside.join("directory");
    std::fs::create_dir_all(beside.join("left")).unwrap();
    session
        .stop(std::time::Duration::from_secs(2))
        .await
        .unwrap();
    assert!(!beside.exists());
    sessions.remove(&session).await.unwrap();
    site.is_clean();
}

#[tokio::test]
async fn a_directory_that_does_not_fit_makes_no_session() {
    let site = site();
    let work = site.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("large"), vec![1; 40 << 20]).unwrap();
    let sessions = site.sessions();
    let made = create(&site.config, &sessions, |spec| spec.directory = Some(work)).await;
    let Err(error) = made else {
        panic!("it was made");
    };
    assert!(error.to_string().contains("--scratch"), "{error}");
    // It is known before anything is made.
    assert!(sessions.list().await.unwrap().0.is_empty());
    site.is_clean();
}
