//! `microvm setup|show|rm`, and what the other verbs say of it. No machine is started.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Home, PROBE, entries, set_mode, write};

/// The command that everybody names where nothing is set up.
const SET_UP: &str = "axocoatl microvm setup --firecracker FILE --jailer FILE --kernel FILE";

/// A program that says it is this version of Firecracker, or of its jailer.
fn program(home: &Home, name: &str, version: &str) -> String {
    let path = home.work().join(format!("{name}-{version}"));
    write(
        &path,
        format!("#!/bin/sh\necho '{name} v{version}'\n").as_bytes(),
    );
    set_mode(&path, 0o755);
    path.to_str().unwrap().to_owned()
}

fn kernel() -> String {
    std::env::var("AXO_KERNEL_PACKAGE").expect(
        "AXO_KERNEL_PACKAGE names no Debian package of a kernel: cargo xtask test fetches one, and \
         says so",
    )
}

/// Installs these programs, and with `kernel` everything.
fn setup(home: &Home, version: &str, kernel: Option<&str>) -> Vec<String> {
    let [firecracker, jailer] = ["Firecracker", "Jailer"].map(|name| program(home, name, version));
    let mut arguments = [
        "microvm",
        "setup",
        "--firecracker",
        &firecracker,
        "--jailer",
        &jailer,
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(
        kernel
            .into_iter()
            .flat_map(|kernel| ["--kernel".to_owned(), kernel.to_owned()]),
    );
    arguments
}

/// What `doctor` finds of machines.
fn found(home: &Home) -> Value {
    let json = home.axocoatl(&["doctor", "--json"]).json();
    let findings = json["findings"].as_array().unwrap();
    let machines = findings
        .iter()
        .find(|finding| finding["what"] == "machines");
    machines.unwrap().clone()
}

fn installed(home: &Home) -> PathBuf {
    home.path().join("data/microvm/current")
}

#[test]
fn where_nothing_is_set_up_everybody_names_the_command_that_does_it() {
    let home = Home::new();
    let said = ["tier microvm is not set up", "as root", SET_UP];
    home.axocoatl(&["microvm", "show"]).exits(125, &said);
    let json = home
        .axocoatl(&["microvm", "show", "--json"])
        .exits(125, &[]);
    let message = json.json()["error"]["message"].to_string();
    assert!(message.contains(SET_UP), "{message}");
    home.axocoatl(&["run", PROBE, "--input", "1", "--tier", "microvm"])
        .exits(126, &["wasm: not the tier asked for"]);

    let json = home.axocoatl(&["tiers", "--json"]).succeeds().json();
    let tiers = json["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|tier| tier["tier"] == "microvm").unwrap();
    assert_eq!(tier["works"], false);
    assert_eq!(tier["reason"], "tier microvm is not set up");
    assert!(tier["fix"].as_str().unwrap().contains(SET_UP), "{tier}");

    let machines = found(&home);
    assert_eq!(machines["state"], "missing");
    assert_eq!(machines["detail"], "tier microvm is not set up");
    assert_eq!(machines["fix"], tier["fix"]);

    // A part of it is not enough, and what is missing is named in the same way.
    home.axocoatl(&setup(&home, "1.17.0", None))
        .exits(125, &said);
    home.axocoatl(&["microvm", "setup", "--kernel", "vmlinux"])
        .exits(125, &said);
    assert_eq!(
        entries(&home.path().join("data/microvm/setups")),
        Vec::<PathBuf>::new()
    );

    let help = home.axocoatl(&["microvm", "setup", "--help"]).succeeds();
    for option in [
        "--firecracker",
        "--jailer",
        "--kernel",
        "--release",
        "--sha256",
    ] {
        assert!(help.out().contains(option), "{help}");
    }
}

#[test]
fn what_is_set_up_is_shown_and_removed() {
    let home = Home::new();
    let kernel = kernel();
    let text = home
        .axocoatl(&setup(&home, "1.12.1", Some(&kernel)))
        .succeeds_silently();
    for line in [
        "installed firecracker 1.12.1 from ",
        "installed jailer 1.12.1 from ",
        "installed kernel 6.",
        "known: jailer 1.12.1 has CVE-2026-1386",
        "whether a machine runs here: axocoatl tiers",
    ] {
        assert!(text.out().contains(line), "{line}\n{text}");
    }
    let text = home.axocoatl(&["microvm", "show"]).succeeds_silently();
    for line in [
        "\njailer 1.12.1 from ",
        "\n0 disks kept",
        "\n0 snapshots kept",
        "\nknown: ",
    ] {
        assert!(text.out().contains(line), "{line}\n{text}");
    }
    let json = home
        .axocoatl(&["microvm", "show", "--json"])
        .succeeds_silently()
        .json();
    for (part, version, from) in [
        ("firecracker", "1.12.1", "/Firecracker-1.12.1"),
        ("jailer", "1.12.1", "/Jailer-1.12.1"),
    ] {
        let part = &json[part];
        assert_eq!(part["version"], version);
        assert!(part["from"].as_str().unwrap().ends_with(from), "{json}");
        assert_eq!(part["sha256"].as_str().unwrap().len(), 64);
    }
    assert_eq!(json["kernel"]["from"], kernel);
    assert_eq!(json["vulnerabilities"][0]["id"], "CVE-2026-1386");
    assert_eq!(json["vulnerabilities"][0]["concerns"], false);
    assert_eq!(json["kept"][0]["what"], "disks");
    assert_eq!(json["kept"][1]["count"], 0);

    // What does not concern machines as they are made here is told, and is nothing wrong. What is
    // installed is good only where a machine runs.
    let machines = found(&home);
    let detail = machines["detail"].as_str().unwrap();
    let state = match detail.contains("no machine runs here: ") {
        true => "missing",
        false => "good",
    };
    assert_eq!(machines["state"], state, "{machines}");
    let json = home.axocoatl(&["tiers", "--json"]).succeeds().json();
    let tiers = json["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|tier| tier["tier"] == "microvm").unwrap();
    if state == "missing" {
        assert!(
            detail.ends_with(tier["reason"].as_str().unwrap()),
            "{detail}"
        );
    }
    assert!(
        detail.starts_with("firecracker 1.12.1, jailer 1.12.1, kernel 6."),
        "{detail}"
    );
    assert!(
        detail.contains("CVE-2026-1386") && detail.contains("does not concern"),
        "{detail}"
    );

    // The kernel stays as it is where none is given.
    let json = home.axocoatl(&[setup(&home, "1.17.0", None), vec!["--json".to_owned()]].concat());
    let json = json.succeeds_silently().json();
    assert_eq!(json["firecracker"]["version"], "1.17.0");
    assert_eq!(json["kernel"]["from"], kernel);
    assert_eq!(json["vulnerabilities"], Value::Array(Vec::new()));

    let removed = home.axocoatl(&["microvm", "rm"]).succeeds_silently();
    assert!(removed.out().starts_with("removed, "), "{removed}");
    assert_eq!(
        entries(&home.path().join("data/microvm")),
        Vec::<PathBuf>::new()
    );
    let again = home
        .axocoatl(&["microvm", "rm", "--json"])
        .succeeds_silently();
    assert_eq!(again.json()["removed_bytes"], 0);
    home.axocoatl(&["microvm", "show"]).exits(125, &[SET_UP]);
}

#[test]
fn what_is_damaged_is_named_with_the_command_that_repairs_it() {
    let home = Home::new();
    home.axocoatl(&setup(&home, "1.17.0", Some(&kernel())))
        .succeeds();
    let good = fs::read(installed(&home).join("bin/jailer")).unwrap();
    let jailer = installed(&home).join("bin/jailer");
    fs::remove_file(&jailer).unwrap();
    home.axocoatl(&["microvm", "show"]).exits(
        125,
        &["bin/jailer", "it is gone", "install it again", SET_UP],
    );
    let machines = found(&home);
    assert_eq!(machines["state"], "wrong");
    assert!(
        machines["fix"].as_str().unwrap().contains(SET_UP),
        "{machines}"
    );
    // Of the same size and with another content: its time tells.
    let other: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    write(&jailer, &other);
    home.axocoatl(&["microvm", "show"])
        .exits(125, &["bin/jailer", "SHA-256"]);
    // And so it is repaired.
    home.axocoatl(&setup(&home, "1.17.0", Some(&kernel())))
        .succeeds();
    home.axocoatl(&["microvm", "show"]).succeeds_silently();
}

#[test]
fn what_cannot_be_set_up_is_refused_with_what_is_wrong_and_changes_nothing() {
    let home = Home::new();
    let old = program(&home, "Firecracker", "1.12.1");
    let new = program(&home, "Jailer", "1.17.0");
    let text = home.work().join("text");
    write(&text, b"no kernel at all");
    let text = text.to_str().unwrap();
    let with = |firecracker: &str, jailer: &str, kernel: &str| {
        let arguments = [
            "microvm",
            "setup",
            "--firecracker",
            firecracker,
            "--jailer",
            jailer,
        ];
        let arguments = [&arguments[..], &["--kernel", kernel]].concat();
        home.axocoatl(&arguments)
    };
    with(&old, &new, text).exits(
        125,
        &["Jailer-1.17.0", "it is version 1.17.0", "release 1.12.1"],
    );
    with(&new, &new, text).exits(125, &["Jailer-1.17.0: ", "does not say `Firecracker v"]);
    with("absent", &new, text).exits(125, &["opening", "absent", "No such file"]);
    let same = program(&home, "Jailer", "1.12.1");
    with(&old, &same, text).exits(
        125,
        &[
            "neither an ELF nor a bzImage",
            "give a Debian kernel package",
        ],
    );
    for (arguments, said) in [
        (&["setup"][..], "--kernel"),
        (&["setup", "--firecracker", &old], "--jailer"),
        (&["setup", "--release", "1.17.0"], "--sha256"),
        (&["setup", "--kernel", text, "--sha256", "00"], "--release"),
        (&["setup", "--modules", text], "--kernel"),
    ] {
        home.axocoatl(&[&["microvm"], arguments].concat())
            .exits(2, &[said]);
    }
    // Where nobody listens, and not of upstream.
    let digest = "0".repeat(64);
    let release = [
        "--release",
        "1.17.0",
        "--sha256",
        &digest,
        "--from",
        "http://127.0.0.1:1",
    ];
    let release = [&["microvm", "setup"], &release[..], &["--kernel", text]].concat();
    home.axocoatl(&release)
        .exits(125, &["downloading http://127.0.0.1:1/v1.17.0/"]);
    assert!(!installed(&home).exists());
    assert_eq!(
        entries(&home.path().join("data/microvm/setups")),
        Vec::<PathBuf>::new()
    );
}
