//! Images that are damaged, hostile or for other machines: each is refused with its name and what is
//! wrong, and leaves nothing.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tar::EntryType;

use crate::containers::{IMAGE, Tar, import, import_tar, make_layout};
use crate::support::{Home, entries, make_fifo, write};

#[track_caller]
fn nothing_is_left(home: &Home) {
    let garbage = home
        .axocoatl(&["image", "gc", "--dry-run", "--json"])
        .succeeds()
        .json();
    assert_eq!(garbage["removed"], json!([]), "{garbage}");
    let staging = home.path().join("data/images/staging");
    assert!(entries(&staging).is_empty(), "{:?}", entries(&staging));
}

#[test]
fn a_source_that_is_no_image_is_refused() {
    let home = Home::new();
    let work = home.work();
    write(&work.join("text"), b"not a tar at all");
    write(&work.join("empty"), b"");
    let whole = Tar::root().end();
    write(&work.join("truncated"), &whole[..whole.len() / 2]);
    make_fifo(&work.join("fifo"));
    write(&work.join("layout/oci-layout"), b"{}");
    for source in [
        "text",
        "empty",
        "truncated",
        "fifo",
        "layout",
        "absent",
        "/dev/null",
    ] {
        let ended = home
            .start(&["image", "import", source, "--json"])
            .end_within(Duration::from_secs(20))
            .exits(125, &[source]);
        assert_eq!(ended.json()["error"]["exit_code"], 125, "{source}");
        nothing_is_left(&home);
    }
    let list = home.axocoatl(&["image", "ls", "--json"]).json();
    assert_eq!(list, json!({"images": []}));
}

#[test]
fn an_image_for_other_machines_is_refused_with_both_names() {
    let home = Home::new();
    make_layout(
        &home.work().join("layout"),
        &Tar::root().end(),
        "s390x",
        &json!({}),
    );
    home.axocoatl(&["image", "import", "layout"])
        .exits(125, &["is not for linux/", "linux/s390x"]);
    nothing_is_left(&home);
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_not_imported() {
    let home = Home::new();
    let layout = home.work().join("layout");
    let host = axocoatl_isolation::images::Platform::host().architecture;
    make_layout(&layout, &Tar::root().end(), &host, &json!({}));
    let layer = entries(&layout.join("blobs/sha256"))
        .into_iter()
        .find(|blob| fs::metadata(blob).unwrap().len() > 1 << 20)
        .unwrap();
    flip_last_byte(&layer);
    home.axocoatl(&["image", "import", "layout"])
        .exits(125, &["is not what was announced"]);
    nothing_is_left(&home);
}

fn flip_last_byte(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "the file is this test's own"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The store is ours alone, but disks fail.
#[test]
fn a_blob_that_was_changed_in_the_store_does_not_run() {
    for large in [true, false] {
        let home = Home::new();
        import(&home);
        for blob in entries(&home.path().join("data/images/blobs/sha256")) {
            if (fs::metadata(&blob).unwrap().len() > 1 << 20) == large {
                flip_last_byte(&blob);
            }
        }
        let ended = home.axocoatl(&["run", "--image", IMAGE, "--", "cat"]);
        assert_eq!(ended.code(), Some(125), "{ended}");
        assert!(ended.err().contains("tool box cannot be run"), "{ended}");
        assert!(ended.err().contains("sha256:"), "{ended}");
        let staging = home.path().join("data/images/staging");
        assert!(entries(&staging).is_empty(), "{:?}", entries(&staging));
        assert!(
            entries(&home.path().join("data/images/rootfs"))
                .iter()
                .all(|path| !path.is_dir())
        );
    }
}

#[test]
fn a_layer_that_leaves_its_root_does_not_run_and_writes_nothing() {
    let outside = |home: &Home| home.path().join("escaped");
    type Add = fn(Tar, &str) -> Tar;
    let cases: [(&str, Add); 6] = [
        ("parent", |tar, path| {
            tar.file(&format!("../../../../../../../../..{path}"), "x")
        }),
        ("in the middle", |tar, path| {
            tar.file(&format!("bin/../../../../../../../..{path}"), "x")
        }),
        ("through a link", |tar, path| {
            let (directory, file) = path.rsplit_once('/').unwrap();
            tar.symlink("way", directory)
                .file(&format!("way/{file}"), "x")
        }),
        ("hard link", |tar, _| {
            tar.entry(
                EntryType::Link,
                "passwd",
                0o644,
                "../../../../../../etc/passwd",
                b"",
            )
        }),
        ("device", |tar, _| {
            tar.entry(EntryType::Block, "disk", 0o666, "", b"")
        }),
        ("character device", |tar, _| {
            tar.entry(EntryType::Char, "mem", 0o666, "", b"")
        }),
    ];
    for (case, add) in cases {
        let home = Home::new();
        let path = outside(&home);
        let tar = add(Tar::root(), path.to_str().unwrap()).end();
        write(&home.work().join("root.tar"), &tar);
        let imported = home.axocoatl(&["image", "import", "root.tar", "--name", IMAGE]);
        let ended = match imported.code() {
            Some(0) => home.axocoatl(&["run", "--image", IMAGE, "--", "ls", "/"]),
            _ => imported,
        };
        assert!(!path.exists(), "{case}: it was written");
        let refused = ended.code() == Some(125);
        // A link that is taken for one beneath the root is as good as a refusal.
        let harmless = ended.code() == Some(0) && case == "through a link";
        assert!(refused || harmless, "{case}: {ended}");
        if refused {
            assert!(ended.err().contains("entry \""), "{case}: {ended}");
        }
    }
}

#[test]
fn an_image_that_has_something_else_where_mounts_go_is_refused() {
    for path in ["dev", "proc", "sys", "tmp", "axocoatl"] {
        let home = Home::new();
        import_tar(&home, IMAGE, &Tar::root().symlink(path, "/bin").end());
        home.axocoatl(&["run", "--image", IMAGE, "--", "cat"])
            .exits(125, &["tool box cannot be run", &format!("/{path}")]);
        let home = Home::new();
        import_tar(&home, IMAGE, &Tar::root().file(path, "x").end());
        home.axocoatl(&["run", "--image", IMAGE, "--", "cat"])
            .exits(125, &["tool box cannot be run", &format!("/{path}")]);
    }
}

#[test]
fn an_image_whose_settings_cannot_be_is_refused() {
    for (config, phrase) in [
        (json!({"User": "nobody-here"}), "nobody-here"),
        (json!({"User": "100000"}), "100000"),
        (json!({"WorkingDir": "relative"}), "relative"),
        (json!({"WorkingDir": "/a/../.."}), ".."),
    ] {
        let home = Home::new();
        crate::containers::import_configured(&home, &config);
        home.axocoatl(&["run", "--image", IMAGE, "--", "cat"])
            .exits(125, &["tool box cannot be run", phrase]);
    }
}

#[test]
fn a_program_for_another_machine_is_refused_before_it_is_started() {
    let home = Home::new();
    let mut program = crate::containers::busybox();
    // e_machine: AArch64 on x86-64, and the reverse.
    program[18] = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    let tar = Tar::root().entry(EntryType::Regular, "bin/foreign", 0o755, "", &program);
    import_tar(&home, IMAGE, &tar.end());
    home.axocoatl(&["run", "--image", IMAGE, "--", "foreign"])
        .exits(125, &["\"foreign\" is made for", "this host is"]);
}

#[test]
fn a_damaged_record_is_told_and_the_other_images_stay() {
    let home = Home::new();
    import(&home);
    let other = Tar::root().file("other", "x").end();
    import_tar(&home, "example.org/other:1", &other);
    let records = home.path().join("data/images/images");
    fs::write(&entries(&records)[0], "{").unwrap();
    let list = home
        .axocoatl(&["image", "ls", "--json"])
        .exits(0, &["warning: "]);
    assert_eq!(list.json()["images"].as_array().unwrap().len(), 1);
    // What the damaged one needs is not known.
    home.axocoatl(&["image", "gc"]).exits(
        125,
        &[entries(&records)[0].to_str().unwrap(), "remove that file"],
    );
}
