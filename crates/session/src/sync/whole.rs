//! A directory on its whole way into a session and back, with a stand-in for the session's agent.

use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use axo_guest_proto::{Failure, Request};
use tempfile::TempDir;

use super::stand_in::StandIn;
use super::*;
use crate::record::ImageFacts;
use crate::table::Turn;
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
    fn new(
        before: impl Fn(&Request, &Path) -> Option<Failure> + Send + Sync + 'static,
    ) -> (Self, Turn) {
        let home = tempfile::tempdir().unwrap();
        let top = home.path().canonicalize().unwrap();
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
        let turn = table.add(&record).unwrap();
        let session = StandIn::new(before);
        fs::create_dir_all(session.inside(&work)).unwrap();
        let site = Self {
            home,
            work,
            table,
            record,
            session,
        };
        (site, turn)
    }

    async fn bring(&self) -> Result<(), SessionError> {
        let directory = Identity::of(&self.work).unwrap();
        bring(&self.session.agent, &self.table, &self.record, &directory).await
    }

    async fn sync(&self, options: SyncOptions) -> Result<Synced, SyncError> {
        back(&self.session.agent, &self.table, &self.record, options).await
    }

    /// What the session has of the directory.
    fn inside(&self, name: &str) -> PathBuf {
        self.session.inside(&self.work).join(name)
    }
}

#[tokio::test]
async fn a_directory_goes_in_and_comes_back() {
    let (site, _turn) = Site::new(|_, _| None);
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

/// Somebody who owns the directory has it copied, and swaps it for one of root's in between.
#[tokio::test]
async fn regression_a_directory_that_is_swapped_while_it_is_copied_leads_to_no_other() {
    let paths = Arc::new(Mutex::new(None::<(PathBuf, PathBuf)>));
    let known = Arc::clone(&paths);
    let (site, _turn) = Site::new(move |_, _| {
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
