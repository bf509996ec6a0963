//! Several users of one store.

use std::sync::atomic::{AtomicUsize, Ordering};

use axo_image::{GarbageKind, ImageError, Progress, Silent, Step, Store};

use crate::support::{Made, Tar, home, make_layout, names, reference, refuse_import};

/// Counts what begins.
#[derive(Default)]
struct Count(AtomicUsize);

impl Progress for Count {
    fn begin(&self, _what: &str, _total: Option<u64>) -> Box<dyn Step + '_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::new(Silent)
    }
}

#[test]
fn an_image_is_unpacked_once() {
    let home = home();
    let mut tar = Tar::new();
    for number in 0..500 {
        tar = tar.file(&format!("f{number}"), "x");
    }
    let image = home.import(&[tar.end()]).unwrap();
    let count = Count::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // As another process would.
            scope.spawn(|| {
                let store = Store::open(home.store.root()).unwrap();
                let rootfs = store.rootfs(&image, &count).unwrap();
                assert_eq!(names(rootfs.path()).len(), 508);
            });
        }
    });
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    home.assert_clean();
}

#[test]
fn what_is_in_use_is_not_removed() {
    let home = home();
    let path = home.path("tar");
    std::fs::write(&path, Tar::new().file("a", "1").end()).unwrap();
    let name = reference("example.org/a:1");
    let image = home.store.import(&path, Some(&name), &Silent).unwrap();
    let rootfs = home.store.rootfs(&image, &Silent).unwrap();
    let other = Store::open(home.store.root()).unwrap();
    for text in ["example.org/a:1", &image.digest] {
        assert!(matches!(other.remove(text), Err(ImageError::InUse { .. })));
    }
    assert!(other.gc(false).unwrap().items.is_empty());
    assert!(rootfs.path().join("a").is_file());
    assert_eq!(other.list().unwrap().len(), 1);
    drop(rootfs);
    let removed = other.remove("example.org/a:1").unwrap();
    assert!(removed.image && removed.bytes > 0);
    assert_eq!(removed.references, [name.to_string()]);
    for directory in ["blobs/sha256", "images", "rootfs"] {
        assert_eq!(names(&home.store.root().join(directory)), [""; 0]);
    }
    home.assert_clean();
}

#[test]
fn removing_one_of_two_keeps_what_they_share() {
    let home = home();
    let path = home.path("tar");
    std::fs::write(&path, Tar::new().file("a", "1").end()).unwrap();
    for name in ["example.org/a:1", "example.org/a:2"] {
        home.store
            .import(&path, Some(&reference(name)), &Silent)
            .unwrap();
    }
    let removed = home.store.remove("example.org/a:1").unwrap();
    assert!(!removed.image);
    let image = home.store.find("example.org/a:2").unwrap();
    let shared = Tar::new().file("a", "1").end();
    let two = home
        .import(&[shared.clone(), Tar::new().file("b", "1").end()])
        .unwrap();
    home.store.remove("example.org/a:2").unwrap();
    assert!(matches!(
        home.store.find(&image.digest),
        Err(ImageError::NotFound { .. })
    ));
    assert!(
        home.store
            .rootfs(&two, &Silent)
            .unwrap()
            .path()
            .join("a")
            .is_file()
    );
}

#[test]
fn garbage_is_found_told_and_removed() {
    let home = home();
    let image = home.import(&[Tar::new().file("a", "1").end()]).unwrap();
    drop(home.store.rootfs(&image, &Silent).unwrap());
    let root = home.store.root();
    let hex = "0".repeat(64);
    std::fs::write(root.join("blobs/sha256").join(&hex), "x").unwrap();
    std::fs::write(root.join("partial").join(&hex), "x").unwrap();
    std::fs::create_dir_all(root.join("rootfs").join(&hex).join("d")).unwrap();
    std::fs::create_dir_all(root.join("staging/dead/rootfs-0")).unwrap();
    let kinds = |dry_run| {
        let garbage = home.store.gc(dry_run).unwrap();
        garbage
            .items
            .iter()
            .map(|item| item.kind)
            .collect::<Vec<_>>()
    };
    let all = [
        GarbageKind::Staging,
        GarbageKind::Blob,
        GarbageKind::Partial,
        GarbageKind::Rootfs,
    ];
    assert_eq!(kinds(true), all);
    assert_eq!(kinds(false), all);
    assert_eq!(kinds(false), []);
    home.assert_clean();
    assert!(
        home.store
            .rootfs(&image, &Silent)
            .unwrap()
            .path()
            .join("a")
            .is_file()
    );
    assert_eq!(
        home.store.find(&image.digest[..20]).unwrap().digest,
        image.digest
    );
}

#[test]
fn a_refused_import_takes_back_what_it_added_and_nothing_else() {
    let home = home();
    let root = home.store.root();
    // It shares a layer with what is refused.
    let image = home.import(&[Tar::new().file("good", "1").end()]).unwrap();
    let stray = "0".repeat(64);
    std::fs::write(root.join("blobs/sha256").join(&stray), "x").unwrap();
    std::fs::write(root.join("partial").join(&stray), "x").unwrap();
    std::fs::create_dir_all(root.join("rootfs").join(&stray)).unwrap();
    let all =
        || ["blobs/sha256", "partial", "rootfs", "images"].map(|part| names(&root.join(part)));
    let before = all();
    refuse_import(&home);
    assert_eq!(all(), before);
    assert!(home.store.rootfs(&image, &Silent).is_ok());

    home.store.remove(&image.digest).unwrap();
    home.store.gc(false).unwrap();
    refuse_import(&home);
    assert_eq!(names(&root.join("blobs/sha256")), [""; 0]);
    home.assert_clean();
}

/// Collects garbage whenever something begins.
struct Collect<'a>(&'a Store);

impl Progress for Collect<'_> {
    fn begin(&self, _what: &str, _total: Option<u64>) -> Box<dyn Step + '_> {
        self.0.gc(false).unwrap();
        Box::new(Silent)
    }
}

#[test]
fn garbage_collection_in_the_middle_takes_nothing_that_is_needed() {
    let home = home();
    let layout = home.path("layout");
    let layers = [
        Tar::new().file("a", "1").end(),
        Tar::new().file("b", "1").end(),
    ];
    make_layout(&layout, &layers, &Made::default());
    let collect = Collect(&home.store);
    let image = home.store.import(&layout, None, &collect).unwrap();
    let rootfs = home.store.rootfs(&image, &collect).unwrap();
    assert!(rootfs.path().join("a").is_file() && rootfs.path().join("b").is_file());
    home.assert_clean();
}

#[test]
fn what_is_pinned_stays_until_it_is_let_go() {
    let home = home();
    let store = &home.store;
    let image = home.import(&[Tar::new().file("f", "x").end()]).unwrap();
    let rootfs = store.rootfs(&image, &Silent).unwrap();
    let path = rootfs.path().to_owned();
    store.pin(&rootfs, "a-session").unwrap();
    drop(rootfs);

    let kept = store.remove(&image.digest);
    assert!(matches!(kept, Err(ImageError::Pinned { by, .. }) if by == "a-session"));
    store.gc(false).unwrap();
    assert!(path.join("f").exists());
    assert_eq!(store.pins().unwrap(), ["a-session"]);

    store.unpin("a-session").unwrap();
    store.unpin("a-session").unwrap();
    assert!(store.remove(&image.digest).unwrap().image);
    assert!(!path.exists());
    for bad in ["", "..", "a/b", "A", &"a".repeat(65)] {
        assert!(store.unpin(bad).is_err(), "{bad}");
    }
}
