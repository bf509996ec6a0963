//! A disk without room.

use axo_image::{ImageError, Silent, Store};

use crate::support::{Made, Tar, chain, home, make_layout, names, run};

/// A small file system, for as long as this lives.
struct Small(String);

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", "mount", &[&self.0]);
    }
}

#[test]
fn importing_and_unpacking_end_cleanly() {
    let home = home();
    let disk = home.path("disk").display().to_string();
    std::fs::create_dir(&disk).unwrap();
    run(
        "mount",
        "mount",
        &["-t", "tmpfs", "-o", "size=2m", "axo-image-test", &disk],
    );
    let _small = Small(disk.clone());
    let store = Store::open(std::path::Path::new(&disk).join("store").as_path()).unwrap();
    let full = |error: ImageError| {
        assert!(matches!(error, ImageError::Io { .. }), "{}", chain(&error));
        assert!(error.to_string().contains("disk is full"), "{error}");
        for name in ["staging", "partial", "images"] {
            let left = names(&store.root().join(name));
            assert!(name == "images" || left.is_empty(), "{name}: {left:?}");
        }
    };
    let zeros = vec![0; 4 << 20];
    let tar = Tar::new()
        .entry(tar::EntryType::Regular, "f", 0o644, "", &zeros)
        .end();
    let path = home.path("tar");
    std::fs::write(&path, &tar).unwrap();
    full(store.import(&path, None, &Silent).unwrap_err());
    assert!(store.list().unwrap().is_empty());

    // Small as a blob, large unpacked.
    let layout = home.path("layout");
    make_layout(&layout, &[crate::support::gzip(&tar)], &Made::default());
    let image = store.import(&layout, None, &Silent).unwrap();
    full(store.rootfs(&image, &Silent).unwrap_err());
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(store.gc(true).unwrap().items.is_empty());
}
