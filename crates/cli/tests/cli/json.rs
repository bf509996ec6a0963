//! `--json`: every verb, in success and in failure, is one JSON document on standard output.

use crate::support::{EXAMPLES, Home, PROBE, add_tool};

#[test]
fn every_verb_answers_in_json() {
    let home = Home::new();
    add_tool(&home.work(), "mine", "");
    let root = crate::containers::Tar::root().end();
    crate::support::write(&home.work().join("root.tar"), &root);
    let verbs: &[&[&str]] = &[
        &["run", PROBE, "--input", r#"{"op":"echo"}"#],
        &["tool", "add", "mine"],
        &["tool", "ls"],
        &["tool", "show", "mine"],
        &["tool", "check", "mine"],
        &["tool", "rm", "mine"],
        &["image", "ls"],
        &["image", "import", "root.tar", "--name", "box"],
        &["image", "show", "box"],
        &["image", "ls"],
        &["image", "gc", "--dry-run"],
        &["image", "gc"],
        &["tiers"],
        &["doctor"],
        &["gc"],
        &["gc", "--dry-run"],
    ];
    for verb in verbs {
        let ended = home
            .axocoatl(&[verb, &["--json"][..]].concat())
            .succeeds_silently();
        assert!(ended.json().is_object(), "{verb:?}: {ended}");
        assert_eq!(ended.out().matches('\n').count(), 1, "{verb:?}: {ended}");
        // The option is global: it may stand before the verb.
        let before = home.axocoatl(&[&["--json"], *verb].concat());
        assert!(before.json().is_object(), "{verb:?}: {before}");
    }
}

#[test]
fn every_failure_is_json_with_the_exit_code_and_the_same_message() {
    let home = Home::new();
    let word_count = format!("{EXAMPLES}/word-count");
    add_tool(&home.user_tools(), "broken", "[limits]\nmemry = \"1MiB\"\n");
    add_tool(&home.user_tools(), "sound", "");
    add_tool(&home.work(), "sound", "");
    let failures: &[(&[&str], i32)] = &[
        (&["run", PROBE], 125),
        (&["run", PROBE, "--input", "{"], 125),
        (&["run", &word_count, "--input", "{}"], 125),
        (&["run", "broken", "--input", "1"], 125),
        (&["run", "absent", "--input", "1"], 127),
        (&["run", "./absent", "--input", "1"], 127),
        (&["run", "BAD NAME", "--input", "1"], 127),
        (&["run", PROBE, "--input", "1", "--tier", "microvm"], 126),
        (
            &["run", PROBE, "--input", "1", "--mount", "./absent:/d"],
            125,
        ),
        (
            &[
                "run",
                PROBE,
                "--input",
                r#"{"op":"output_file_big","bytes":1500000}"#,
            ],
            125,
        ),
        (&["tool", "show", "absent"], 127),
        (&["tool", "check", "broken"], 125),
        (&["tool", "add", "sound"], 125),
        (&["tool", "add", "absent"], 127),
        (&["tool", "rm", "absent"], 127),
        (&["run", "--image", "absent"], 127),
        (&["image", "show", "absent"], 127),
        (&["image", "rm", "absent"], 127),
        (&["image", "import", "absent"], 125),
    ];
    for (arguments, code) in failures {
        let ended = home
            .axocoatl(&[arguments, &["--json"][..]].concat())
            .exits(*code, &["error: "]);
        let error = &ended.json()["error"];
        assert_eq!(error["exit_code"], *code, "{arguments:?}: {ended}");
        let message = error["message"].as_str().unwrap();
        assert!(ended.err().contains(message), "{arguments:?}: {ended}");
        assert_eq!(
            ended.out().matches('\n').count(),
            1,
            "{arguments:?}: {ended}"
        );
    }
}

#[test]
fn a_failure_without_json_leaves_standard_output_empty() {
    let home = Home::new();
    for arguments in [
        &["run", "absent", "--input", "1"][..],
        &["run", PROBE, "--input", "{"],
        &["run", PROBE, "--input", "1", "--tier", "oci"],
        &["tool", "show", "absent"],
        &["tool", "rm", "absent"],
    ] {
        let ended = home.axocoatl(arguments);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}: {ended}");
    }
}

#[test]
fn the_outcome_in_json_has_everything_the_call_came_to() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "mine", "");
    let input = r#"{"op":"stderr","text":"a log"}"#;
    let ended = home.axocoatl(&[
        "run",
        tool.to_str().unwrap(),
        "--input",
        input,
        "--fuel",
        "90000000",
        "--json",
    ]);
    let outcome = ended.succeeds_silently().json();
    assert_eq!(outcome["tool"], "mine");
    assert_eq!(outcome["version"], "1.2.3");
    assert_eq!(outcome["tier"], "wasm");
    assert_eq!(
        outcome["termination"],
        serde_json::json!({"kind": "exited", "code": 0})
    );
    assert_eq!(outcome["output"], serde_json::json!({"ok": true}));
    assert_eq!(outcome["stdout"], "{\"ok\":true}");
    assert_eq!(outcome["stderr"], "a log");
    assert!(outcome["digest"].as_str().unwrap().starts_with("sha256:"));
    let usage = &outcome["usage"];
    for key in ["wall_us", "peak_memory", "fuel"] {
        assert!(usage[key].as_u64().unwrap() > 0, "{key}: {usage}");
    }
    assert!(
        usage["cpu_us"].as_u64().unwrap() <= usage["wall_us"].as_u64().unwrap() + 1000,
        "{usage}"
    );
}
