//! Every kind of source.

use std::os::unix::fs::symlink;
use std::path::Path;

use axo_image::{Digest, Image, ImageError, Platform, Silent};

use crate::support::{Made, Tar, gzip, home, make_layout, names, reference, run};

fn rootfs_tar() -> Vec<u8> {
    Tar::new()
        .dir("./bin")
        .file("./bin/tool", "hello")
        .symlink("./sh", "bin/tool")
        .end()
}

fn assert_unpacks(home: &crate::support::Home, image: &Image) {
    let rootfs = home.store.rootfs(image, &Silent).unwrap();
    assert_eq!(
        std::fs::read_to_string(rootfs.path().join("bin/tool")).unwrap(),
        "hello"
    );
    assert_eq!(
        std::fs::read_link(rootfs.path().join("sh")).unwrap(),
        Path::new("bin/tool")
    );
    for mount in [
        "proc", "sys", "dev", "tmp", "axocoatl", "tool", "run", "etc",
    ] {
        assert!(rootfs.path().join(mount).is_dir(), "{mount}");
    }
    home.assert_clean();
}

#[test]
fn root_file_system_tars_however_compressed() {
    for bytes in [
        rootfs_tar(),
        gzip(&rootfs_tar()),
        zstd::encode_all(&rootfs_tar()[..], 1).unwrap(),
    ] {
        let home = home();
        let path = home.path("rootfs");
        std::fs::write(&path, &bytes).unwrap();
        let name = reference("tools/sh:1");
        let image = home.store.import(&path, Some(&name), &Silent).unwrap();
        assert_eq!(image.config.architecture, Platform::host().architecture);
        assert_eq!(image.references, [name.to_string()]);
        assert_eq!(home.store.find("tools/sh:1").unwrap().digest, image.digest);
        assert_unpacks(&home, &image);
        // The same again is the same.
        let again = home.store.import(&path, None, &Silent).unwrap();
        assert_eq!(
            (again.digest, again.references),
            (image.digest, image.references)
        );
    }
}

#[test]
fn a_directory() {
    let home = home();
    let source = home.path("rootfs");
    std::fs::create_dir_all(source.join("bin")).unwrap();
    std::fs::write(source.join("bin/tool"), "hello").unwrap();
    std::fs::hard_link(source.join("bin/tool"), source.join("bin/tool2")).unwrap();
    symlink("bin/tool", source.join("sh")).unwrap();
    symlink("/etc/shadow", source.join("outside")).unwrap();
    let long = "n".repeat(200);
    std::fs::create_dir_all(source.join(&long)).unwrap();
    std::fs::write(source.join(&long).join(&long), "deep").unwrap();
    let image = home.store.import(&source, None, &Silent).unwrap();
    assert_unpacks(&home, &image);
    let rootfs = home.store.rootfs(&image, &Silent).unwrap();
    assert_eq!(
        std::fs::read_to_string(rootfs.path().join("bin/tool2")).unwrap(),
        "hello"
    );
    assert_eq!(
        std::fs::read_to_string(rootfs.path().join(&long).join(&long)).unwrap(),
        "deep"
    );
    assert_eq!(
        std::fs::read_link(rootfs.path().join("outside")).unwrap(),
        Path::new("/etc/shadow")
    );
    assert_eq!(
        home.store.import(&source, None, &Silent).unwrap().digest,
        image.digest
    );
}

#[test]
fn a_layout_as_directory_and_as_tar() {
    let home = home();
    let layout = home.path("layout");
    let digest = make_layout(&layout, &[gzip(&rootfs_tar())], &Made::default());
    let image = home.store.import(&layout, None, &Silent).unwrap();
    assert_eq!(image.digest, digest.as_str());
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(image.config.user.as_deref(), Some("1:2"));
    assert_eq!(image.created.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_unpacks(&home, &image);

    let other = crate::support::home();
    let tar = other.path("layout.tar.gz");
    run(
        "tar",
        "tar",
        &[
            "-C",
            layout.to_str().unwrap(),
            "-czf",
            tar.to_str().unwrap(),
            ".",
        ],
    );
    let again = other.store.import(&tar, None, &Silent).unwrap();
    assert_eq!(again.digest, image.digest);
    assert_unpacks(&other, &again);
}

#[test]
fn what_docker_save_writes() {
    let home = home();
    let layout = home.path("layout");
    make_layout(&layout, &[gzip(&rootfs_tar())], &Made::default());
    let archive = home.path("saved.tar");
    let target = format!("docker-archive:{}:example.org/saved:2", archive.display());
    let source = format!("oci:{}", layout.display());
    run(
        "skopeo",
        "skopeo",
        &["--insecure-policy", "copy", &source, &target],
    );
    let image = home.store.import(&archive, None, &Silent).unwrap();
    assert_eq!(image.references, ["example.org/saved:2"]);
    assert_eq!(image.config.cmd, ["sh"]);
    assert_unpacks(&home, &image);
}

#[test]
fn a_docker_archive_whose_layer_was_changed() {
    let home = home();
    let layer = rootfs_tar();
    let config = serde_json::json!({ "architecture": Platform::host().architecture, "os": "linux",
        "rootfs": { "diff_ids": [Digest::of(b"another")] } });
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l/layer.tar"]}]"#;
    let archive = Tar::new()
        .file("manifest.json", manifest)
        .file("c.json", &config.to_string())
        .entry(tar::EntryType::Regular, "x/layer.tar", 0o644, "", &layer)
        .symlink("l/layer.tar", "../x/layer.tar")
        .end();
    let path = home.path("saved.tar");
    std::fs::write(&path, archive).unwrap();
    let error = home.store.import(&path, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    home.assert_clean();
    assert!(home.store.list().unwrap().is_empty());
}

#[test]
fn sources_that_are_nothing() {
    let home = home();
    let text = home.path("text");
    std::fs::write(&text, "not a tar at all").unwrap();
    let empty = home.path("empty");
    std::fs::write(&empty, "").unwrap();
    let truncated = home.path("truncated");
    let whole = gzip(&rootfs_tar());
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    for path in [&text, &empty, &truncated] {
        let error = home.store.import(path, None, &Silent).unwrap_err();
        assert!(
            matches!(error, ImageError::Malformed { .. }),
            "{path:?}: {error}"
        );
    }
    let error = home
        .store
        .import(&home.path("absent"), None, &Silent)
        .unwrap_err();
    assert!(matches!(error, ImageError::Io { .. }), "{error}");
    home.assert_clean();
}

#[test]
fn another_architecture() {
    let home = home();
    let layout = home.path("layout");
    let made = Made {
        platform: Platform {
            os: "linux".to_owned(),
            architecture: "s390x".to_owned(),
        },
        ..Made::default()
    };
    make_layout(&layout, &[rootfs_tar()], &made);
    let error = home.store.import(&layout, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error}");
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}

#[test]
fn a_layout_with_a_changed_blob() {
    let home = home();
    let layout = home.path("layout");
    make_layout(&layout, &[gzip(&rootfs_tar())], &Made::default());
    let layer = Digest::of(&gzip(&rootfs_tar()));
    let blob = layout.join("blobs/sha256").join(layer.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    let error = home.store.import(&layout, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    std::fs::remove_file(&blob).unwrap();
    let error = home.store.import(&layout, None, &Silent).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    home.assert_clean();
}

#[test]
fn names_move_and_the_old_digest_stays_known() {
    let home = home();
    let name = reference("example.org/a:1");
    let mut digests = Vec::new();
    for text in ["one", "two"] {
        let path = home.path(text);
        std::fs::write(&path, Tar::new().file("f", text).end()).unwrap();
        digests.push(
            home.store
                .import(&path, Some(&name), &Silent)
                .unwrap()
                .digest,
        );
    }
    let store = &home.store;
    assert_eq!(store.find("example.org/a:1").unwrap().digest, digests[1]);
    let pinned = format!("example.org/a:1@{}", digests[0]);
    assert_eq!(store.find(&pinned).unwrap().digest, digests[0]);
    assert_eq!(store.list().unwrap().len(), 2);
    assert!(store.remove("example.org/a:1").unwrap().image);
    assert!(matches!(
        store.find("example.org/a:1"),
        Err(ImageError::NotFound { .. })
    ));
    assert!(store.remove(&digests[0]).unwrap().image);
    assert_eq!(names(&store.root().join("blobs/sha256")), [""; 0]);
}
