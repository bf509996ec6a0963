//! A directory on its whole way into a session and back, with a stand-in for the session's agent.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::{Arc, Mutex};

use axo_guest_proto::{Code, Failure, Request};
use tempfile::TempDir;

use super::*;
use crate::agent::stand_in::StandIn;
use crate::record::ImageFacts;
use crate::{SessionId, SessionSpec, Transport};

/// A session of a directory: `work`, beneath a directory that somebody else may change.
struct Site {
    home: TempDir,
    work: PathBuf,
    table: Table,
    record: Record,
    session: StandIn,
}

const PLAIN: SyncOptions = SyncOptions {
    delete: false,
    force: false,
    dry_run: false,
};

impl Site {
    fn new(before: impl Fn(&Request, &Path) -> Option<Failure> + Send + Sync + 'static) -> Self {
        Self::with(before, false)
    }

    /// `led`: a link leads to our own data.
    fn with(
        before: impl Fn(&Request, &Path) -> Option<Failure> + Send + Sync + 'static,
        led: bool,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let top = home.path().canonicalize().unwrap();
        if led {
            fs::create_dir(top.join("elsewhere")).unwrap();
            symlink("elsewhere", top.join("data")).unwrap();
        }
        let work = top.join("work");
        fs::create_dir(&work).unwrap();
        let table = Table::open(&top.join("data"), &top.join("runtime")).unwrap();
        let mut spec = SessionSpec::new("image");
        spec.tier = SessionTier::MicroVm;
        spec.directory = Some(work.clone());
        let facts = ImageFacts {
            digest: "sha256:0".into(),
            environment: std::collections::BTreeMap::new(),
            working_directory: None,
        };
        let record = Record::new(SessionId::random(), &spec, facts, Transport::Socket);
        drop(table.add(&record).unwrap());
        let session = StandIn::new(before);
        fs::create_dir_all(session.inside(&work)).unwrap();
        Self {
            home,
            work,
            table,
            record,
            session,
        }
    }

    async fn bring(&self) -> Result<(), SessionError> {
        let directory = Identity::of(&self.work).unwrap();
        bring(&self.session.agent, &self.table, &self.record, &directory).await
    }

    async fn sync(&self, options: SyncOptions) -> Result<Synced, SyncError> {
        let turn = self.table.take_turn(&self.record.id).unwrap().unwrap();
        back(
            &self.session.agent,
            &self.table,
            &self.record,
            options,
            turn,
        )
        .await
    }

    /// What the session has of the directory.
    fn inside(&self, name: &str) -> PathBuf {
        self.session.inside(&self.work).join(name)
    }
}

#[tokio::test]
async fn a_directory_goes_in_and_comes_back() {
    let site = Site::new(|_, _| None);
    fs::create_dir(site.work.join("d")).unwrap();
    fs::write(site.work.join("d/f"), "f").unwrap();
    site.bring().await.unwrap();
    assert_eq!(fs::read(site.inside("d/f")).unwrap(), b"f");
    fs::write(site.inside("d/f"), "of the session").unwrap();
    let synced = site.sync(PLAIN).await.unwrap();
    assert_eq!(synced.written, [PathBuf::from("d/f")]);
    let read = fs::read_to_string(site.work.join("d/f")).unwrap();
    assert_eq!(read, "of the session");
    assert!(site.sync(PLAIN).await.unwrap().is_nothing());
}

/// What has to be decided is asked for at once, and a dry run tells all of it beside what needs no
/// decision.
#[tokio::test]
async fn what_both_sides_changed_and_what_is_in_the_way_is_told_together() {
    let site = Site::new(|_, _| None);
    fs::create_dir(site.work.join("d")).unwrap();
    for name in ["f", "g", "d/kept", "gone"] {
        fs::write(site.work.join(name), "before").unwrap();
    }
    site.bring().await.unwrap();
    for name in ["f", "g", "fresh"] {
        fs::write(site.inside(name), "of the session").unwrap();
    }
    fs::write(site.work.join("f"), "of this host, since").unwrap();
    fs::write(site.work.join("gone"), "of this host, too").unwrap();
    fs::remove_dir_all(site.inside("d")).unwrap();
    fs::write(site.inside("d"), "a file").unwrap();
    fs::remove_file(site.inside("gone")).unwrap();
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();

    let dry = SyncOptions {
        dry_run: true,
        ..PLAIN
    };
    let would = site.sync(dry).await.unwrap();
    assert!(would.is_refused() && !would.is_nothing());
    assert_eq!(would.written, paths(&["fresh", "g"]));
    assert_eq!(
        (would.both, would.in_the_way),
        (paths(&["f"]), paths(&["d"]))
    );
    let forced = SyncOptions { force: true, ..dry };
    let would = site.sync(forced).await.unwrap();
    assert_eq!(would.written, paths(&["f", "fresh", "g"]));
    assert_eq!((would.both, would.in_the_way), (paths(&[]), paths(&["d"])));
    let deleting = SyncOptions {
        delete: true,
        ..dry
    };
    let would = site.sync(deleting).await.unwrap();
    assert_eq!(would.written, paths(&["d", "fresh", "g"]));
    assert_eq!(
        (would.both, would.in_the_way),
        (paths(&["f", "gone"]), paths(&[]))
    );
    assert_eq!(would.removed, paths(&["d/kept"]));

    let text = site.sync(PLAIN).await.unwrap_err().to_string();
    for part in [
        "nothing was written",
        "host: f:",
        "--force",
        "else: d:",
        "--delete",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::read(site.work.join("g")).unwrap(), b"before");
    let all = SyncOptions {
        delete: true,
        force: true,
        dry_run: false,
    };
    let synced = site.sync(all).await.unwrap();
    assert!(!synced.is_refused());
    assert_eq!(synced.written, paths(&["d", "f", "fresh", "g"]));
    assert_eq!(synced.removed, paths(&["d/kept", "gone"]));
}

#[tokio::test]
async fn regression_our_own_data_may_be_where_a_link_leads() {
    let site = Site::with(|_, _| None, true);
    fs::write(site.work.join("f"), "f").unwrap();
    site.bring().await.unwrap();
    fs::write(site.inside("f"), "of the session").unwrap();
    let synced = site.sync(PLAIN).await.unwrap();
    assert_eq!(synced.written, [PathBuf::from("f")]);
    assert!(!site.table.beside(&site.record.id).exists());
}

#[tokio::test]
async fn regression_what_is_too_large_is_refused_before_it_is_read() {
    let site = Site::new(|request, _| panic!("{request:?}"));
    // Whoever reads that is at it for months.
    let file = fs::File::create(site.work.join("f")).unwrap();
    file.set_len(1 << 43).unwrap();
    let error = site.bring().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("8TiB") && text.contains("256MiB") && text.contains("--scratch"),
        "{text}"
    );
    // And what is many small ones.
    let top = opened(&site.work).unwrap();
    file.set_len(0).unwrap();
    let mut tree = Tree::of(&top).unwrap();
    let small = tree.0.remove(Path::new("f")).unwrap();
    for number in 0..entries_of(0) {
        tree.0.insert(number.to_string().into(), small);
    }
    has_room(&top, &tree, 0).unwrap();
    tree.0.insert("one".into(), small);
    let error = has_room(&top, &tree, 0).unwrap_err();
    assert!(error.to_string().contains("16385 files"), "{error}");
}

/// Who waited for a sync has gone while it writes.
#[tokio::test]
async fn regression_the_turn_stays_until_the_last_write_is_done() {
    let site = Site::new(|_, _| None);
    fs::write(site.work.join("f"), "f").unwrap();
    site.bring().await.unwrap();
    // Long enough to be seen while it is written.
    fs::write(site.inside("f"), vec![7; 64 << 20]).unwrap();
    let writes = async {
        let of_sync = |entry: io::Result<fs::DirEntry>| {
            let name = entry.unwrap().file_name();
            name.as_bytes().starts_with(b".axocoatl-sync-")
        };
        while !fs::read_dir(&site.work).unwrap().any(of_sync) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = writes => {}
        synced = site.sync(PLAIN) => drop(synced.unwrap()),
    }
    let turn = loop {
        if let Some(turn) = site.table.take_turn(&site.record.id).unwrap() {
            break turn;
        }
        tokio::task::yield_now().await;
    };
    let written = fs::metadata(site.work.join("f")).unwrap().len();
    assert_eq!(written, 64 << 20);
    assert!(!site.table.beside(&site.record.id).exists());
    drop(turn);
    assert!(site.sync(PLAIN).await.unwrap().is_nothing());
}

/// A session makes odd files: they are told, and all else comes back.
#[tokio::test]
async fn regression_one_odd_file_keeps_nothing_else_from_coming_back() {
    let denied = || Some(Failure::new(Code::Denied, None, "not permitted"));
    let inside = Arc::new(Mutex::new(PathBuf::new()));
    let known = Arc::clone(&inside);
    let mut site = Site::new(move |request, path| match request {
        Request::Read(_) if path.ends_with("denied") => denied(),
        Request::List(_) if path.ends_with("closed") => denied(),
        // Between the listing and this it has gone.
        Request::Read(_) if path.ends_with("gone") => {
            fs::remove_file(known.lock().unwrap().join("gone")).unwrap();
            None
        }
        Request::List(_) if path.ends_with("vanished") => {
            fs::remove_dir(known.lock().unwrap().join("vanished")).unwrap();
            None
        }
        _ => None,
    });
    site.record.limits.scratch = 1 << 20;
    *inside.lock().unwrap() = site.inside("");
    fs::create_dir(site.work.join("closed")).unwrap();
    for name in ["denied", "gone", "huge", "hole", "closed/f", "f"] {
        fs::write(site.work.join(name), "of the host").unwrap();
    }
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(site.work.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("f", 0o040);
    mode("closed", 0o555);
    site.bring().await.unwrap();
    // An agent without rights over modes can read what it has.
    let is = |name: &str| fs::metadata(site.inside(name)).unwrap().mode() & 0o777;
    assert_eq!((is("f"), is("closed")), (0o640, 0o755));

    let length = |name: &str, length: u64| {
        let file = fs::File::create(site.inside(name)).unwrap();
        file.set_len(length).unwrap();
    };
    // More than the session has room for, and more than is ever taken.
    length("hole", 80 << 20);
    length("huge", (64 << 30) + 1);
    fs::write(site.inside("f"), "of the session").unwrap();
    fs::create_dir(site.inside("vanished")).unwrap();
    for number in 0..40 {
        fs::hard_link(site.inside("f"), site.inside(&format!("name{number}"))).unwrap();
    }
    let all = SyncOptions {
        delete: true,
        ..PLAIN
    };
    let mut synced = site.sync(all).await.unwrap();
    synced.unread.sort();
    assert_eq!(
        synced.unread,
        ["closed", "denied", "huge"].map(PathBuf::from)
    );
    assert_eq!(synced.removed, [PathBuf::from("gone")]);
    assert_eq!(synced.written.len(), 42);
    for name in ["denied", "huge", "closed/f"] {
        let read = fs::read_to_string(site.work.join(name)).unwrap();
        assert_eq!(read, "of the host", "{name}");
    }
    let hole = fs::metadata(site.work.join("hole")).unwrap();
    assert_eq!(hole.len(), 80 << 20);
    assert!(hole.blocks() < 100, "{}", hole.blocks());
    assert!(!site.sync(all).await.unwrap().is_nothing());
}

/// A sync was ended in the middle of a file, on this host or by a session that pretends it.
#[tokio::test]
async fn regression_what_an_ended_sync_left_is_nothing_of_the_directory() {
    let site = Site::new(|_, _| None);
    fs::create_dir(site.work.join("d")).unwrap();
    fs::write(site.work.join("d/f"), "f").unwrap();
    let half = Path::new("d").join(partial());
    fs::write(site.work.join(&half), "half").unwrap();
    // Called almost so, it is a file as any other.
    let almost = format!("d/{PARTIAL}almost");
    fs::write(site.work.join(&almost), "whole").unwrap();
    site.bring().await.unwrap();
    let inside = site.inside("").join(&half);
    assert!(!inside.exists() && site.inside(&almost).exists());
    let stale = site.table.beside(&site.record.id).join("stale");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join("f"), "of another sync").unwrap();

    fs::write(&inside, "of the session").unwrap();
    fs::write(site.inside("d/f"), "of the session").unwrap();
    let synced = site.sync(PLAIN).await.unwrap();
    assert_eq!(synced.written, [PathBuf::from("d/f")]);
    assert_eq!(synced.skipped, std::slice::from_ref(&half));
    assert!(!site.work.join(&half).exists() && !stale.exists());

    fs::create_dir_all(&stale).unwrap();
    site.table.remove_beside(&site.record.id).unwrap();
    assert!(!site.table.beside(&site.record.id).exists());
}

/// Somebody who owns the directory has it copied, and swaps it for one of root's in between.
#[tokio::test]
async fn regression_a_directory_that_is_swapped_while_it_is_copied_leads_to_no_other() {
    let paths = Arc::new(Mutex::new(None::<(PathBuf, PathBuf)>));
    let known = Arc::clone(&paths);
    let site = Site::new(move |_, _| {
        if let Some((work, secret)) = known.lock().unwrap().take() {
            fs::rename(&work, work.with_file_name("away")).unwrap();
            symlink(secret, &work).unwrap();
        }
        None
    });
    let secret = site.home.path().join("secret");
    fs::create_dir(&secret).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(site.work.join(name), "work").unwrap();
        fs::write(secret.join(name), "secret").unwrap();
    }
    *paths.lock().unwrap() = Some((site.work.clone(), secret));
    // It was swapped for good.
    let error = site.bring().await.unwrap_err();
    assert!(matches!(error, SessionError::Refused(_)), "{error}");
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read(site.inside(name)).unwrap(), b"work");
    }
}
