//! Layers that want out, or too much.

use std::path::Path;

use axo_image::{
    Digest, ImageError, Silent, StoreOptions, parse_config, parse_manifest, parse_record,
};
use tar::EntryType;

use crate::support::{Made, Tar, chain, gzip, home, home_with, make_layout, names, reference};

/// Unpacking fails with what `is` accepts, and leaves neither file nor root file system.
fn refused(layers: &[Vec<u8>], is: impl Fn(&ImageError) -> bool) {
    let home = home();
    let canary = home.path("canary");
    std::fs::write(&canary, "unchanged").unwrap();
    let error = home.unpack(layers).unwrap_err();
    assert!(is(&error), "{error}");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "unchanged");
    home.assert_clean();
    let left = names(&home.store.root().join("rootfs"));
    assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
}

fn entry(error: &ImageError) -> bool {
    matches!(error, ImageError::Entry { .. })
}

#[test]
fn paths_upwards() {
    for name in ["../canary", "a/../../canary", "..", "/../canary"] {
        refused(&[Tar::new().file(name, "changed").end()], entry);
        refused(&[Tar::new().dir(name).end()], entry);
        refused(&[Tar::new().symlink(name, "x").end()], entry);
    }
    for name in [".wh...", ".wh..", ".wh.", "a/../.wh.x"] {
        refused(&[Tar::new().dir("a").file(name, "").end()], entry);
    }
}

#[test]
fn an_absolute_path_is_one_of_the_image() {
    let home = home();
    let outside = home.path("outside");
    let name = outside.to_str().unwrap();
    let rootfs = home.unpack(&[Tar::new().file(name, "x").end()]).unwrap();
    assert!(!outside.exists());
    assert!(rootfs.path().join(name.trim_start_matches('/')).is_file());
}

#[test]
fn through_symlinks() {
    let home = home();
    let outside = home.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("x"), "unchanged").unwrap();
    let absolute = outside.to_str().unwrap();
    for target in [
        absolute,
        "../../../../../../../../..",
        "/proc/self/root",
        "/proc/1/cwd",
    ] {
        // As directory on the way, as the file itself, in another layer, and below one that was
        // a directory when it was first used.
        let same = Tar::new().symlink("l", target).file("l/x", "changed").end();
        let itself = Tar::new()
            .symlink("x", &format!("{target}/x"))
            .file("x", "changed")
            .end();
        let two = [
            Tar::new().symlink("l", target).end(),
            Tar::new().file("l/x", "changed").end(),
        ];
        let swapped = Tar::new()
            .dir("d")
            .file("d/a", "1")
            .symlink("d", target)
            .file("d/x", "changed")
            .file("d/a", "changed")
            .end();
        let removed = [
            Tar::new().symlink("l", target).end(),
            Tar::new()
                .file("l/.wh.x", "")
                .file("l/.wh..wh..opq", "")
                .end(),
        ];
        for layers in [&[same][..], &[itself], &two, &[swapped], &removed] {
            // Refused, or kept inside: which, depends on whether the target exists there.
            drop(home.unpack(layers));
            assert_eq!(
                std::fs::read_to_string(outside.join("x")).unwrap(),
                "unchanged"
            );
            assert_eq!(names(&outside), ["x"]);
        }
    }
    home.assert_clean();
}

#[test]
fn through_symlinks_to_nothing_and_in_circles() {
    refused(
        &[Tar::new().symlink("l", "/nowhere").file("l/x", "1").end()],
        entry,
    );
    refused(
        &[Tar::new()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/x", "1")
            .end()],
        entry,
    );
    refused(&[Tar::new().file("f", "1").file("f/x", "1").end()], entry);
}

#[test]
fn hard_links_out() {
    let home = home();
    let secret = home.path("secret");
    std::fs::write(&secret, "s").unwrap();
    let name = secret.to_str().unwrap();
    for target in [name, "../../secret", "l", "", "/", "absent"] {
        refused(&[Tar::new().hard_link("x", target).end()], entry);
    }
    let parent = secret.parent().unwrap().to_str().unwrap();
    refused(
        &[Tar::new()
            .symlink("l", parent)
            .hard_link("x", "l/secret")
            .end()],
        entry,
    );
    // To the symlink itself, which leads nowhere; writing then replaces it.
    let layers = [Tar::new()
        .symlink("l", name)
        .hard_link("x", "l")
        .file("x", "changed")
        .end()];
    home.unpack(&layers).unwrap();
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "s");
}

#[test]
fn devices() {
    for kind in [EntryType::Char, EntryType::Block] {
        refused(
            &[Tar::new().entry(kind, "dev/null", 0o666, "", b"").end()],
            |error| entry(error) && error.to_string().contains("device"),
        );
    }
}

#[test]
fn mount_points_that_are_something_else() {
    for name in ["proc", "sys", "dev", "tmp", "axocoatl", "tool"] {
        let is = |error: &ImageError| matches!(error, ImageError::MountPoint { path, .. } if path.ends_with(name));
        refused(&[Tar::new().dir("x").symlink(name, "x").end()], is);
        refused(&[Tar::new().symlink(name, "/").end()], is);
        refused(&[Tar::new().file(name, "x").end()], is);
    }
    let home = home();
    home.unpack(&[Tar::new().symlink("run", "var/run").file("etc", "x").end()])
        .unwrap();
}

fn small() -> StoreOptions {
    StoreOptions {
        max_unpacked_bytes: 4 << 20,
        max_files: 100,
    }
}

#[test]
fn bombs() {
    let home = home_with(small());
    let zeros = vec![0; 16 << 20];
    let one_file = Tar::new()
        .entry(EntryType::Regular, "f", 0o644, "", &zeros)
        .end();
    let mut after_the_end = Tar::new().file("f", "1").end();
    after_the_end.extend(&zeros);
    let mut many = Tar::new();
    for number in 0..200 {
        many = many.file(&format!("f{number}"), "");
    }
    for bytes in [
        gzip(&one_file),
        gzip(&after_the_end),
        zstd::encode_all(&one_file[..], 1).unwrap(),
        many.end(),
    ] {
        let error = home.unpack(&[bytes]).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        home.assert_clean();
    }
    let path = home.path("bomb.tar.gz");
    std::fs::write(&path, gzip(&one_file)).unwrap();
    let error = home.store.import(&path, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    home.assert_clean();
}

#[test]
fn a_sparse_giant_and_sizes_that_lie() {
    let home = home_with(small());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let raw = header.as_gnu_mut().unwrap();
    raw.name[0] = b'f';
    raw.set_real_size(1 << 60);
    raw.sparse[0].set_offset(1 << 60);
    raw.sparse[0].set_length(0);
    header.set_cksum();
    let mut giant = header.as_bytes().to_vec();
    giant.resize(giant.len() + 1024, 0);
    let error = home.unpack(&[giant]).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");

    let mut lying = Tar::new().file("f", "1").end();
    lying[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = lying[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| {
            if (148..156).contains(&i) {
                32
            } else {
                u32::from(*b)
            }
        })
        .sum();
    lying[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let error = home.unpack(&[lying]).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge { .. } | ImageError::Malformed { .. }
        ),
        "{error}"
    );
    home.assert_clean();
}

#[test]
fn names_that_fill_memory() {
    let name = vec![b'a'; 8 << 20];
    let tar = Tar::new()
        .file("first", "1")
        .entry(EntryType::GNULongName, "././@LongLink", 0o644, "", &name)
        .file("f", "1")
        .end();
    refused(&[gzip(&tar)], |error| {
        entry(error) && error.to_string().contains("headers")
    });
}

#[test]
fn directories_too_deep_however_reached() {
    let mut tar = Tar::new();
    let deep = "d/".repeat(45);
    tar = tar.dir(&deep).symlink("s", deep.trim_end_matches('/'));
    tar = tar
        .dir(&format!("s/{deep}"))
        .symlink("t", &format!("s/{}", deep.trim_end_matches('/')));
    tar = tar.dir(&format!("t/{deep}"));
    refused(&[tar.end()], |error| {
        entry(error) && error.to_string().contains("deep")
    });
}

#[test]
fn layers_that_are_damaged_in_the_store() {
    let layer = gzip(&Tar::new().file("a", &"text ".repeat(5000)).end());
    for change in ["flip", "cut", "foreign"] {
        let home = home();
        let image = home.import(std::slice::from_ref(&layer)).unwrap();
        let blob = home
            .store
            .root()
            .join("blobs/sha256")
            .join(Digest::of(&layer).hex());
        let mut bytes = layer.clone();
        match change {
            "flip" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x55;
            }
            "cut" => bytes.truncate(layer.len() / 2),
            _ => bytes = gzip(&Tar::new().file("evil", "x").end()),
        }
        std::fs::write(&blob, bytes).unwrap();
        let error = home.store.rootfs(&image, &Silent).unwrap_err();
        assert!(
            matches!(error, ImageError::Digest { .. }),
            "{change}: {error}"
        );
        assert!(error.to_string().contains("again"), "{error}");
        home.assert_clean();
    }
}

#[test]
fn layers_that_are_not_what_the_configuration_says() {
    let home = home();
    let layout = home.path("layout");
    let made = Made {
        diff_ids: Some(vec![Digest::of(b"x")]),
        ..Made::default()
    };
    make_layout(&layout, &[gzip(&Tar::new().file("a", "1").end())], &made);
    let image = home.store.import(&layout, None, &Silent).unwrap();
    let error = home.store.rootfs(&image, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");

    let made = Made {
        diff_ids: Some(vec![]),
        ..Made::default()
    };
    make_layout(&layout, &[Tar::new().end()], &made);
    let error = home.store.import(&layout, None, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Malformed { .. }), "{error}");
    home.assert_clean();
}

#[test]
fn a_layer_that_is_no_tar() {
    let text = vec![b'x'; 4096];
    let cut = gzip(&Tar::new().file("a", &"text ".repeat(50_000)).end());
    for layer in [text, cut[..cut.len() / 2].to_vec(), gzip(b"short")] {
        let home = home();
        let layout = home.path("layout");
        let made = Made {
            diff_ids: Some(vec![Digest::of(b"x")]),
            ..Made::default()
        };
        make_layout(&layout, &[layer], &made);
        let image = home.store.import(&layout, None, &Silent).unwrap();
        let error = home.store.rootfs(&image, &Silent).unwrap_err();
        assert!(matches!(error, ImageError::Malformed { .. }), "{error}");
        home.assert_clean();
    }
}

#[test]
fn a_pinned_name_for_another_image() {
    let home = home();
    let path = home.path("tar");
    std::fs::write(&path, Tar::new().file("a", "1").end()).unwrap();
    let name = reference(&format!("example.org/a:1@{}", Digest::of(b"other")));
    let error = home.store.import(&path, Some(&name), &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    assert!(home.store.list().unwrap().is_empty());
}

#[test]
fn a_changed_record_is_told_and_nothing_is_collected() {
    let home = home();
    let image = home.import(&[Tar::new().file("a", "1").end()]).unwrap();
    let records = home.store.root().join("images");
    let record = records.join(&names(&records)[0]);
    let text = std::fs::read_to_string(&record).unwrap();
    for bad in ["", "{}", &text.replace("sha256:", "sha256:../")] {
        std::fs::write(&record, bad).unwrap();
        assert!(home.store.list().unwrap().is_empty());
        let error = home.store.gc(false).unwrap_err().to_string();
        assert!(error.contains(record.to_str().unwrap()), "{error}");
    }
    std::fs::write(&record, text).unwrap();
    assert_eq!(home.store.find(&image.digest).unwrap().digest, image.digest);
    assert!(Path::new(&record).exists());
}

#[test]
fn errors_repeat_little_of_what_a_stranger_wrote() {
    let long = "x".repeat(1 << 20);
    let config = format!(r#"{{"architecture":"{long}","os":"{long}","rootfs":{{}}}}"#);
    let json = |text: &str| text.replace("LONG", &long);
    let [manifest, config_error, record] = [
        parse_manifest(json(r#"{"schemaVersion":"LONG"}"#).as_bytes()).map(drop),
        parse_config(json(r#"{"architecture":"a","os":"b","rootfs":"LONG"}"#).as_bytes()).map(drop),
        parse_record(json(r#"{"generation":"LONG"}"#).as_bytes()).map(drop),
    ];
    let archive = |manifest: &str| {
        let home = home();
        let tar = Tar::new()
            .file("manifest.json", manifest)
            .file("c", &config);
        std::fs::write(home.path("tar"), tar.end()).unwrap();
        home.store
            .import(&home.path("tar"), None, &Silent)
            .map(drop)
    };
    let names = json(r#"[{"Config":"LONG","Layers":["LONG"]}]"#);
    let kind = json(r#"[{"Config":"c","Layers":"LONG"}]"#);
    for result in [
        manifest,
        config_error,
        record,
        archive(&names),
        archive(&kind),
        // That of a configuration for another machine.
        archive(r#"[{"Config":"c","Layers":[]}]"#),
    ] {
        let text = chain(&result.unwrap_err());
        assert!(text.len() < 2000, "{} bytes: {text:.300}", text.len());
    }
}
