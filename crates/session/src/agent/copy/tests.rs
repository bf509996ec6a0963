//! Copies out of sessions that have more than they should.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::place::HostPlace;
use super::*;
use crate::agent::stand_in::StandIn;

/// A session with a directory, and a place for what comes out of it.
struct Site {
    session: StandIn,
    home: TempDir,
}

impl Site {
    fn new() -> Self {
        let session = StandIn::new(|_, _| None);
        fs::create_dir(session.inside(Path::new("/work"))).unwrap();
        let home = tempfile::tempdir().unwrap();
        Self { session, home }
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.session.inside(Path::new("/work")).join(name)
    }

    /// While others change it.
    async fn copy(&self, name: &str, limits: CopyLimits) -> Result<Copied, CopyError> {
        let files = self.session.agent.files("/");
        let to = HostPlace {
            directory: fs::File::open(self.home.path()).unwrap().into(),
            shown: self.home.path().to_owned(),
        };
        let to = (&to, OsStr::new(name));
        files
            .copy_out_to(Path::new("work"), to, limits, &mut |_: &Copied| ())
            .await
    }

    async fn is_too_much(&self, name: &str, limits: CopyLimits) {
        let error = self.copy(name, limits).await.unwrap_err();
        assert!(matches!(error, CopyError::TooMuch(_)), "{name}: {error}");
    }
}

/// What costs a session nothing costs this host something: names, directories, links.
#[tokio::test]
async fn regression_names_directories_and_links_are_bounded_too() {
    let site = Site::new();
    for name in 0..8 {
        fs::create_dir(site.inside(&format!("{}{name}", "long".repeat(50)))).unwrap();
        symlink("to".repeat(100), site.inside(&format!("{name}"))).unwrap();
    }
    let roomy = CopyLimits {
        entries: 17,
        bytes: 0,
        stored: 16 * 4096,
        path_bytes: 8 * (201 + 201),
    };
    site.copy("all", roomy).await.unwrap();
    let mut less = roomy;
    less.entries -= 1;
    site.is_too_much("entries", less).await;
    less = roomy;
    less.stored -= 1;
    site.is_too_much("stored", less).await;
    less = roomy;
    less.path_bytes -= 1;
    site.is_too_much("paths", less).await;
}

/// Files that are sent almost whole, and then cannot be read: what was taken of them was taken.
#[tokio::test]
async fn what_is_left_out_in_the_middle_counts_too() {
    let site = Site::new();
    for name in 0..9 {
        fs::write(site.inside(&format!("{name}.torn")), [7; 100 << 10]).unwrap();
    }
    let copied = site.copy("all", CopyLimits::default()).await.unwrap();
    assert_eq!((copied.unread.len(), copied.files), (9, 0));
    let made = fs::read_dir(site.home.path().join("all")).unwrap();
    assert_eq!(made.count(), 0);
    let bytes = CopyLimits {
        bytes: 850 << 10,
        ..CopyLimits::default()
    };
    site.is_too_much("bytes", bytes).await;
}

/// So deep that whoever removes it, one open directory in another, has not enough of them.
#[tokio::test]
async fn what_is_too_deep_is_left_out() {
    let site = Site::new();
    let deep = |depth: usize| ["d"; 300][..depth].join("/");
    fs::create_dir_all(site.inside(&deep(300))).unwrap();
    let copied = site.copy("all", CopyLimits::default()).await.unwrap();
    assert_eq!(copied.unread, [Path::new("work").join(deep(257))]);
    let all = site.home.path().join("all");
    assert!(all.join(deep(256)).exists() && !all.join(deep(257)).exists());
}
