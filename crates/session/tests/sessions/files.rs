//! Files that go into a session and come out of it.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use axo_core::Size;
use axo_session::agent::proto::Code;
use axo_session::agent::proto::files::How;
use axo_session::agent::{AgentError, Copied, CopyError, CopyLimits};
use axo_session::{Session, Sessions};

use crate::site::{Site, noise, says, site};

/// What is at each path of a tree: its mode and bytes, or where it leads.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode();
        let content = if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            stack.extend(entries.map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            std::fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else {
            std::fs::read(&path).unwrap()
        };
        all.insert(path.strip_prefix(root).unwrap().to_owned(), (mode, content));
    }
    all
}

async fn session(site: &Site, sessions: &Sessions) -> Session {
    site.create(sessions, |s| s.limits.scratch = Size::from_mib(64))
        .await
        .unwrap()
}

fn code(error: &CopyError) -> Option<Code> {
    match error {
        CopyError::Session { source, .. } => source.code(),
        _ => None,
    }
}

#[tokio::test]
async fn a_tree_comes_back_as_it_went() {
    let site = site();
    let sessions = site.sessions();
    let session = session(&site, &sessions).await;
    let from = site.path().join("from");
    std::fs::create_dir_all(from.join("deep/er")).unwrap();
    std::fs::write(from.join("large"), noise(20_000_000)).unwrap();
    std::fs::write(from.join("empty"), "").unwrap();
    std::fs::write(from.join("deep/er/run"), "#!/bin/sh\n").unwrap();
    std::fs::write(from.join("deep/a name\nof two lines"), "x").unwrap();
    symlink("deep/er/run", from.join("inside")).unwrap();
    symlink("/etc/passwd", from.join("outside")).unwrap();
    symlink("../../absent", from.join("deep/dangling")).unwrap();
    for (path, mode) in [
        ("large", 0o600),
        ("empty", 0o444),
        ("deep/er/run", 0o755),
        ("deep", 0o555),
    ] {
        std::fs::set_permissions(from.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }

    let files = session.files("/tmp").unwrap();
    let mut heard = 0;
    let mut count = |_: &Copied| heard += 1;
    let copied = files
        .copy_in(&from, Path::new("there"), &mut count)
        .await
        .unwrap();
    assert_eq!((copied.files, copied.directories, copied.links), (4, 3, 3));
    assert_eq!(copied.bytes, 20_000_011);
    let back = site.path().join("back");
    let out = files
        .copy_out(Path::new("there"), &back, CopyLimits::default(), &mut count)
        .await
        .unwrap();
    assert_eq!(out, copied);
    assert!(heard >= 18, "{heard}");
    assert!(tree(&from) == tree(&back), "{:?}", tree(&back).keys());

    // What is there already stays.
    let there = files
        .copy_in(&from, Path::new("there"), &mut |_: &Copied| ())
        .await;
    assert_eq!(code(&there.unwrap_err()), Some(Code::Exists));
    let here = files
        .copy_out(
            Path::new("there"),
            &back,
            CopyLimits::default(),
            &mut |_: &Copied| (),
        )
        .await;
    assert!(matches!(here, Err(CopyError::Host { .. })), "{here:?}");
    let file = site.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let here = files
        .copy_out(
            Path::new("there/empty"),
            &file,
            CopyLimits::default(),
            &mut |_: &Copied| (),
        )
        .await;
    assert!(matches!(here, Err(CopyError::Host { .. })), "{here:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");

    // A copy out is bounded.
    for (entries, bytes) in [(4, 1 << 30), (100, 1_000_000)] {
        let to = site.path().join(format!("bounded-{entries}"));
        let limits = CopyLimits {
            entries,
            bytes,
            ..CopyLimits::default()
        };
        let cut = files
            .copy_out(Path::new("there"), &to, limits, &mut |_: &Copied| ())
            .await;
        assert!(matches!(cut, Err(CopyError::TooMuch(_))), "{cut:?}");
        let written: usize = tree(&to).values().map(|(_, bytes)| bytes.len()).sum();
        assert!(
            written <= 20_000_011.min(usize::try_from(bytes).unwrap()),
            "{written}"
        );
    }
}

#[tokio::test]
async fn no_link_and_no_path_leads_out_of_a_root() {
    let site = site();
    let sessions = site.sessions();
    let session = session(&site, &sessions).await;
    let links = "mkdir /tmp/root; cd /tmp/root; ln -s /etc etc; ln -s .. up; ln -s /proc/self/root self; \
                 echo inner > inner; ln -s inner link; echo outer > ../outer; mkfifo pipe";
    says(&session, links).await;
    let files = session.files("/tmp/root").unwrap();
    assert_eq!(files.read_to_vec("link", 100).await.unwrap(), b"inner\n");
    for bad in [
        "etc/passwd",
        "up/outer",
        "../outer",
        "/etc/passwd",
        "self/etc/passwd",
    ] {
        let read = files.read_to_vec(bad, 1 << 20).await;
        assert_eq!(
            read.as_ref().unwrap_err().code(),
            Some(Code::Outside),
            "{bad}: {read:?}"
        );
        let written = files.write(bad, How::Replace, None, &mut &b"x"[..]).await;
        assert!(written.is_err(), "{bad}");
        assert!(files.remove(bad, false).await.is_err(), "{bad}");
    }
    assert_eq!(says(&session, "cat /tmp/outer").await, "outer\n");
    // What is no file is not waited for.
    let pipe = files.read_to_vec("pipe", 100).await;
    assert!(matches!(pipe, Err(AgentError::Failed(_))), "{pipe:?}");

    // Out of the session they come as links, and the pipe not at all.
    let to = site.path().join("root");
    let copied = files
        .copy_out(
            Path::new(""),
            &to,
            CopyLimits::default(),
            &mut |_: &Copied| (),
        )
        .await
        .unwrap();
    assert_eq!((copied.files, copied.directories, copied.links), (1, 1, 4));
    assert_eq!(copied.skipped, [PathBuf::from("pipe")]);
    assert_eq!(
        std::fs::read_link(to.join("etc")).unwrap(),
        Path::new("/etc")
    );
}

/// The session may write in the directory that is copied, and change it meanwhile.
#[tokio::test]
async fn what_is_copied_in_is_read_beneath_its_directory_only() {
    let site = site();
    let sessions = site.sessions();
    let session = session(&site, &sessions).await;
    let from = site.path().join("from");
    let secret = site.path().join("secret");
    let directories: Vec<PathBuf> = (0..10).map(|n| from.join(format!("part-{n}"))).collect();
    for directory in [&directories[..], std::slice::from_ref(&secret)].concat() {
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("key"), "of the host").unwrap();
    }
    for directory in &directories {
        std::fs::write(directory.join("key"), "public").unwrap();
    }
    for number in 0..10 {
        std::fs::write(from.join(format!("file-{number}")), "").unwrap();
    }
    // With the first file some of the directories were met, and now all become links elsewhere.
    let mut turned = false;
    let mut turn = |copied: &Copied| {
        if !turned && copied.files > 0 {
            turned = true;
            for directory in &directories {
                std::fs::rename(directory, directory.with_extension("away")).unwrap();
                symlink(&secret, directory).unwrap();
            }
        }
    };
    let files = session.files("/tmp").unwrap();
    let copied = files.copy_in(&from, Path::new("there"), &mut turn).await;
    assert!(turned, "{copied:?}");
    let found = says(&session, "cat /tmp/there/*/key 2>/dev/null || true").await;
    assert!(!found.contains("of the host"), "{found}");
}

#[tokio::test]
async fn a_file_is_written_whole_or_not_at_all() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| s.limits.scratch = Size::from_mib(8))
        .await
        .unwrap();
    let files = session.files("/tmp").unwrap();
    let write = async |name: &str, how, bytes: &[u8]| {
        let mut from = bytes;
        files.write(name, how, Some(0o640), &mut from).await
    };
    assert_eq!(write("empty", How::CreateNew, b"").await.unwrap(), 0);
    assert_eq!(write("file", How::CreateNew, b"first").await.unwrap(), 5);
    let mode = says(&session, "stat -c %a /tmp/file; cat /tmp/file").await;
    assert_eq!(mode, "640\nfirst");
    assert_eq!(write("file", How::Append, b" and more").await.unwrap(), 9);
    assert_eq!(
        files.read_to_vec("file", 100).await.unwrap(),
        b"first and more"
    );
    let cut = files.read_to_vec("file", 5).await;
    assert_eq!(cut.unwrap_err().code(), Some(Code::Limit));

    // Each is told why, also where the agent gives up long before all is sent.
    says(&session, "mkdir /tmp/directory").await;
    for (name, how, length, code) in [
        ("file", How::CreateNew, 3, Code::Exists),
        ("file", How::CreateNew, 5_000_000, Code::Exists),
        ("directory", How::Replace, 5_000_000, Code::NotFile),
        ("absent/file", How::Replace, 5_000_000, Code::NotFound),
        ("file", How::Replace, 20_000_000, Code::NoSpace),
    ] {
        let error = write(name, how, &noise(length)).await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{name}: {error:?}");
    }
    assert_eq!(
        files.read_to_vec("file", 100).await.unwrap(),
        b"first and more"
    );
    assert_eq!(
        says(&session, "ls -A /tmp").await,
        "directory\nempty\nfile\n"
    );
}
