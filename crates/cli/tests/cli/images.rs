//! `image`: import, list, show, remove, collect.

use std::fs;

use serde_json::json;

use crate::containers::{
    IMAGE, Tar, import, import_configured, import_tar, make_bundle, start_staying,
};
use crate::process::Running;
use crate::support::{AXOCOATL, Home, entries, write};
use crate::terminal::{is_neutralised, on_terminal};

#[test]
fn an_imported_image_is_listed_shown_and_removed() {
    let home = Home::new();
    let digest = import(&home);
    let table = home.axocoatl(&["image", "ls"]).succeeds_silently();
    let short = &digest["sha256:".len()..][..12];
    for word in ["NAME", IMAGE, short, "MiB"] {
        assert!(table.out().contains(word), "{word}\n{table}");
    }
    let list = home.axocoatl(&["image", "ls", "--json"]).succeeds().json();
    assert_eq!(list["images"].as_array().unwrap().len(), 1);
    assert_eq!(list["images"][0]["references"], json!([IMAGE]));
    assert_eq!(list["images"][0]["digest"], digest);

    // By its name, its digest, or the digits that the list shows.
    let mut expected = list["images"][0].clone();
    expected["unpacked"] = json!(false);
    for name in [IMAGE, &digest, short] {
        let shown = home.axocoatl(&["image", "show", name, "--json"]);
        assert_eq!(shown.succeeds_silently().json(), expected, "{name}");
    }
    let removed = home
        .axocoatl(&["image", "rm", IMAGE, "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(removed["removed"][0]["digest"], digest);
    assert_eq!(removed["removed"][0]["image"], true);
    assert!(removed["removed"][0]["bytes"].as_u64().unwrap() > 1 << 20);
    home.axocoatl(&["image", "show", IMAGE])
        .exits(127, &["no image example.org/team/box:1"]);
    nothing_to_collect(&home);
}

fn nothing_to_collect(home: &Home) {
    let garbage = home
        .axocoatl(&["image", "gc", "--dry-run", "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(garbage["removed"], json!([]));
    assert_eq!(garbage["bytes"], 0);
    assert_eq!(garbage["dry_run"], true);
}

#[test]
fn show_tells_how_the_image_wants_to_be_run() {
    let home = Home::new();
    let digest = import_configured(
        &home,
        &json!({
            "Entrypoint": ["/bin/cat"], "Cmd": ["-"], "Env": ["A=b c"], "User": "1000:1000",
            "WorkingDir": "/bin", "Labels": {"version": "7"}, "created": "2024-01-02T03:04:05Z",
        }),
    );
    let shown = home
        .axocoatl(&["image", "show", IMAGE, "--json"])
        .succeeds()
        .json();
    assert_eq!(shown["digest"], digest);
    assert_eq!(shown["entrypoint"], json!(["/bin/cat"]));
    assert_eq!(shown["cmd"], json!(["-"]));
    assert_eq!(shown["env"], json!(["A=b c"]));
    assert_eq!(shown["user"], "1000:1000");
    assert_eq!(shown["working_dir"], "/bin");
    assert_eq!(shown["labels"], json!({"version": "7"}));
    assert_eq!(shown["layers"].as_array().unwrap().len(), 1);
    assert!(shown["platform"].as_str().unwrap().starts_with("linux/"));
    let text = home.axocoatl(&["image", "show", IMAGE]).succeeds_silently();
    for phrase in [
        "\"/bin/cat\"",
        "\"A=b c\"",
        "\"1000:1000\"",
        "\"version\"=\"7\"",
        &digest,
    ] {
        assert!(text.out().contains(phrase), "{phrase}\n{text}");
    }
    let table = home.axocoatl(&["image", "ls"]).succeeds_silently();
    assert!(table.out().contains("2024-01-02T03:04:05Z"), "{table}");
}

#[test]
fn show_tells_whether_the_first_call_has_to_unpack() {
    let home = Home::new();
    import(&home);
    let shown = |unpacked: bool| {
        let json = home.axocoatl(&["image", "show", IMAGE, "--json"]);
        assert_eq!(json.succeeds_silently().json()["unpacked"], unpacked);
        let text = home.axocoatl(&["image", "show", IMAGE]).succeeds_silently();
        let line = text.out().lines().find(|line| line.starts_with("unpacked"));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        assert_eq!(words, ["unpacked", &unpacked.to_string()]);
    };
    shown(false);
    home.axocoatl(&["run", "--image", IMAGE, "--", "cat"])
        .succeeds_silently();
    shown(true);
}

#[test]
fn every_kind_of_source_is_taken_in() {
    let home = Home::new();
    let root = make_bundle(&home.work().join("bundle"), &["sh"]).join("rootfs");
    let imported = home
        .axocoatl(&["image", "import", root.to_str().unwrap(), "--name", "box"])
        .succeeds_silently();
    assert!(imported.out().starts_with("imported "), "{imported}");
    import_configured(&home, &json!({"Cmd": ["sh"]}));
    let list = home.axocoatl(&["image", "ls", "--json"]).json();
    assert_eq!(list["images"].as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn the_last_name_takes_the_image_with_it_and_an_earlier_one_does_not() {
    let home = Home::new();
    let digest = import(&home);
    import_tar(&home, "example.org/other:2", &Tar::root().end());
    let first = home.axocoatl(&["image", "rm", IMAGE]).succeeds_silently();
    assert!(first.out().contains("has other names"), "{first}");
    let last = home
        .axocoatl(&["image", "rm", "example.org/other:2"])
        .succeeds_silently();
    assert!(last.out().contains(&digest), "{last}");
    let list = home.axocoatl(&["image", "ls", "--json"]).json();
    assert_eq!(list, json!({"images": []}));
}

#[test]
fn of_several_images_those_that_can_be_removed_are() {
    let home = Home::new();
    import(&home);
    let ended = home
        .axocoatl(&["image", "rm", "example.org/absent", IMAGE, "--json"])
        .exits(127, &["no image example.org/absent"]);
    let json = ended.json();
    assert_eq!(json["removed"].as_array().unwrap().len(), 1);
    assert_eq!(json["failed"][0]["reference"], "example.org/absent");
    assert_eq!(json["failed"][0]["exit_code"], 127);
    let list = home.axocoatl(&["image", "ls", "--json"]).json();
    assert_eq!(list, json!({"images": []}));
}

#[test]
fn looking_at_an_empty_store_makes_none() {
    let home = Home::new();
    let list = home
        .axocoatl(&["image", "ls", "--json"])
        .succeeds_silently();
    assert_eq!(list.json(), json!({"images": []}));
    nothing_to_collect(&home);
    for verb in ["show", "rm"] {
        let ended = home
            .axocoatl(&["image", verb, "absent", "--json"])
            .exits(127, &["no image absent", "pull or import it"]);
        assert_eq!(ended.json()["error"]["exit_code"], 127);
    }
    assert!(entries(&home.path()).is_empty());
}

#[test]
fn what_names_no_image_is_a_wrong_command_line() {
    let home = Home::new();
    import(&home);
    for arguments in [
        &["image", "pull", "NO NAME"][..],
        &["image", "import", "root.tar", "--name", "NO NAME"],
        &["image", "show", "NO NAME"],
        &["image", "rm", "NO NAME"],
        &["image", "show", "sha256:0"],
        &["image", "rm"],
        &["image"],
    ] {
        let ended = home.axocoatl(arguments).exits(2, &[]);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended}");
    }
}

#[test]
fn gc_removes_what_no_image_needs_and_a_dry_run_nothing() {
    let home = Home::new();
    import(&home);
    let blobs = home.path().join("data/images/blobs/sha256");
    let before = entries(&blobs);
    let stray = blobs.join("0".repeat(64));
    write(&stray, b"nobody's");
    let dry = home
        .axocoatl(&["image", "gc", "--dry-run", "--json"])
        .succeeds()
        .json();
    assert_eq!(dry["removed"].as_array().unwrap().len(), 1);
    assert_eq!(dry["removed"][0]["kind"], "blob");
    assert_eq!(dry["removed"][0]["path"], stray.to_str().unwrap());
    assert!(stray.exists(), "a dry run removes nothing");
    let text = home.axocoatl(&["image", "gc"]).succeeds_silently();
    assert!(text.out().starts_with("removed 1 things"), "{text}");
    assert!(text.out().contains(stray.to_str().unwrap()), "{text}");
    assert_eq!(entries(&blobs), before);
}

#[test]
fn a_registry_that_cannot_be_reached_is_our_failure() {
    let home = Home::new();
    // Nobody listens on port 1.
    let reference = "127.0.0.1:1/box:1";
    home.start(&["image", "pull", reference, "--insecure-http"])
        .end()
        .exits(125, &["127.0.0.1:1"]);
    nothing_to_collect(&home);
}

/// An image is somebody else's text.
#[test]
fn escapes_in_an_image_are_neutralised_and_make_no_lines() {
    let home = Home::new();
    let hostile = "\u{1b}]0;owned\u{7}\nDIGEST forged \u{202e}";
    import_configured(
        &home,
        &json!({
            "Env": [format!("A={hostile}")], "Cmd": [hostile], "User": hostile,
            "Labels": {hostile: hostile}, "created": format!("2024{hostile}"),
        }),
    );
    let shown = on_terminal(&home, &["image", "show", IMAGE]);
    is_neutralised(&shown, "\\u001b]0;owned\\u0007\\nDIGEST forged \\u202e");
    let forged = |line: &str| line.trim_start().starts_with("DIGEST forged");
    assert!(!shown.out().lines().any(forged), "{shown}");
    let list = on_terminal(&home, &["image", "ls"]);
    is_neutralised(&list, IMAGE);
    assert!(!list.out().contains("forged"), "{list}");
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let home = Home::new();
    write(&home.work().join("root.tar"), &Tar::root().end());
    let import = ["image", "import", "root.tar"];
    let seen = on_terminal(&home, &import);
    assert!(seen.out().contains("\u{1b}["), "no bar was drawn: {seen}");
    home.axocoatl(&[
        "image",
        "rm",
        seen.out()
            .split_whitespace()
            .find(|w| w.starts_with("sha256:"))
            .unwrap(),
    ])
    .succeeds();
    home.axocoatl(&import).succeeds_silently();
}

#[test]
fn a_store_that_is_somebody_elses_or_a_file_is_refused() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("data")).unwrap();
    let store = home.path().join("data/images");
    fs::write(&store, "a file").unwrap();
    for arguments in [
        &["image", "ls"][..],
        &["image", "show", "x"],
        &["image", "gc"],
    ] {
        home.axocoatl(arguments)
            .exits(125, &[store.to_str().unwrap()]);
    }
}

#[test]
fn an_image_in_use_is_not_removed() {
    let home = Home::new();
    let running = start_staying(&home, "exec sleep 600");
    home.axocoatl(&["image", "rm", IMAGE])
        .exits(125, &["is in use"]);
    running.signal(rustix::process::Signal::TERM);
    running.end().exits(143, &[]);
    home.axocoatl(&["image", "rm", IMAGE]).succeeds_silently();
}

#[test]
fn a_killed_import_leaves_nothing_that_is_listed() {
    let home = Home::new();
    // Large enough to be met half way.
    let tar = Tar::root().file("large", &"x".repeat(200 << 20)).end();
    write(&home.work().join("root.tar"), &tar);
    let mut importing = home.start(&["image", "import", "root.tar"]);
    let staging = home.path().join("data/images/staging");
    importing.wait_for("the import", || entries(&staging).pop());
    importing.signal(rustix::process::Signal::KILL);
    if importing.end().signal() == Some(9) {
        let list = home.axocoatl(&["image", "ls", "--json"]).json();
        assert_eq!(list, json!({"images": []}));
    }
    home.axocoatl(&["image", "gc"]).succeeds();
    nothing_to_collect(&home);
}

/// What is piped in is shown with a bar on the terminal, and the result is where it belongs.
#[test]
fn the_result_of_an_import_on_a_terminal_can_be_redirected() {
    let home = Home::new();
    write(&home.work().join("root.tar"), &Tar::root().end());
    let mut script = home.program("script");
    let command = format!("{AXOCOATL} image import root.tar --json > result");
    script.args(["-qec", &command, "/dev/null"]);
    script.env("TERM", "xterm");
    Running::start(script, b"").end().succeeds();
    let result = fs::read(home.work().join("result")).unwrap();
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    assert!(result["digest"].as_str().unwrap().starts_with("sha256:"));
}
