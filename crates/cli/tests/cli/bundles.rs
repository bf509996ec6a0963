//! Tools that are OCI bundles, with a manifest and without.

use std::fs;

use serde_json::json;

use crate::containers::{add_bundle_tool, make_bundle, runtime_config};
use crate::support::{Home, add_tool, write};

#[test]
fn a_bare_bundle_runs_by_its_directory_and_is_named_after_it() {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("My Bundle"), &["cat"]);
    for path in [bundle.to_str().unwrap(), "./My Bundle", "./My Bundle/"] {
        let ended = home.axocoatl(&["run", path, "--input", "[1]"]);
        assert_eq!(ended.succeeds_silently().out(), "[1]\n");
    }
    let outcome = home
        .axocoatl(&["run", "./My Bundle", "--input", "1", "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(outcome["tool"], "my-bundle");
    assert_eq!(outcome["tier"], "oci");
    assert!(outcome["digest"].as_str().unwrap().starts_with("sha256:"));
    // As for tools, there must be an input.
    home.axocoatl(&["run", "./My Bundle"])
        .exits(125, &["there is no input"]);
}

#[test]
fn a_bundle_behind_a_link_that_the_user_typed_runs() {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("real"), &["cat"]);
    std::os::unix::fs::symlink(bundle, home.work().join("link")).unwrap();
    let ended = home.axocoatl(&["run", "./link", "--input", "1"]);
    assert_eq!(ended.succeeds_silently().out(), "1\n");
}

#[test]
fn a_bundle_with_a_manifest_runs_under_its_name() {
    let home = Home::new();
    add_bundle_tool(
        &home.user_tools(),
        "bundled",
        &["sh", "-c", "cat; exit 3"],
        "",
    );
    let ended = home
        .axocoatl(&["run", "bundled", "--input", "1"])
        .exits(3, &["tool bundled exited with status 3"]);
    assert_eq!(ended.out(), "1\n");
    let tools = home.axocoatl(&["tool", "ls", "--json"]).succeeds().json();
    assert_eq!(tools["tools"][0]["requires"], "container-image");
}

#[test]
fn a_manifest_goes_before_what_lies_beside_it() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "wasm", "");
    make_bundle(&tool, &["cat"]);
    let outcome = home.axocoatl(&["run", "./wasm", "--input", r#"{"op":"echo"}"#, "--json"]);
    assert_eq!(outcome.succeeds().json()["tier"], "wasm");
}

#[test]
fn a_bundle_in_the_manifests_own_directory_runs() {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("flat"), &["cat"]);
    write(
        &bundle.join("tool.toml"),
        b"name = \"flat\"\n[run]\nbundle = \".\"\n",
    );
    let ended = home.axocoatl(&["run", "./flat", "--input", "1"]);
    assert_eq!(ended.succeeds_silently().out(), "1\n");
}

#[test]
fn check_prepares_a_bundle_and_says_where_it_runs() {
    let home = Home::new();
    let tool = add_bundle_tool(&home.work(), "bundled", &["cat"], "");
    for path in [tool.join("bundle"), tool] {
        let checked = home
            .axocoatl(&["tool", "check", path.to_str().unwrap(), "--json"])
            .succeeds_silently()
            .json();
        assert_eq!(checked["placement"]["tier"], "oci");
    }
}

#[test]
fn check_finds_a_mount_whose_source_is_missing_or_no_directory() {
    let home = Home::new();
    let mounts = "[grants]\nmounts = [{ source = \"data\", target = \"/data\" }]\n";
    let tools = [
        add_tool(&home.work(), "wasm", mounts),
        add_bundle_tool(&home.work(), "bundled", &["cat", "/data/x"], mounts),
    ];
    for tool in tools {
        let path = tool.to_str().unwrap();
        let data = tool.join("data");
        let phrases = [
            "mount source",
            data.to_str().unwrap(),
            "must be a directory",
        ];
        home.axocoatl(&["tool", "check", path]).exits(125, &phrases);
        fs::write(&data, "a file").unwrap();
        home.axocoatl(&["tool", "check", path]).exits(125, &phrases);
        fs::remove_file(&data).unwrap();
        write(&data.join("x"), b"7");
        home.axocoatl(&["tool", "check", path]).succeeds_silently();
        if path.ends_with("bundled") {
            let ended = home.axocoatl(&["run", path, "--input", "1"]);
            assert_eq!(ended.succeeds_silently().out(), "7\n");
        }
    }
}

#[test]
fn show_lists_what_of_the_bundle_does_not_hold() {
    let home = Home::new();
    let tool = add_bundle_tool(&home.work(), "bundled", &["cat"], "");
    for path in [tool.join("bundle"), tool] {
        let path = path.to_str().unwrap();
        let shown = home
            .axocoatl(&["tool", "show", path, "--json"])
            .succeeds_silently()
            .json();
        let overridden = shown["overridden"].to_string();
        for word in [
            "process.terminal",
            "process.user",
            "process.capabilities",
            "process.rlimits",
            "mounts /sys/fs/cgroup",
            "linux.maskedPaths",
        ] {
            assert!(overridden.contains(word), "{word}: {overridden}");
        }
        assert!(!overridden.contains("noNewPrivileges"), "{overridden}");
        assert!(shown["run"]["bundle"].as_str().unwrap().ends_with("bundle"));
        let text = home.axocoatl(&["tool", "show", path]).succeeds_silently();
        assert!(
            text.out().contains("process.capabilities: a tool has none"),
            "{text}"
        );
        assert!(text.out().contains("candidate oci: chosen"), "{text}");
    }
}

#[test]
fn show_of_a_bundle_in_which_everything_holds_says_nothing() {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("plain"), &["cat"]);
    let config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "user": {"uid": 65534, "gid": 65534}, "cwd": "/", "args": ["cat"],
            "env": ["PATH=/bin"], "noNewPrivileges": true,
        },
    });
    write(&bundle.join("config.json"), config.to_string().as_bytes());
    let shown = home.axocoatl(&["tool", "show", "./plain", "--json"]).json();
    assert_eq!(shown["overridden"], json!([]));
    let text = home
        .axocoatl(&["tool", "show", "./plain"])
        .succeeds_silently();
    assert!(!text.out().contains("does not hold"), "{text}");
    let wasm = home.axocoatl(&["tool", "show", crate::support::PROBE, "--json"]);
    assert_eq!(wasm.json().get("overridden"), None);
}

#[test]
fn what_the_bundle_asks_for_beyond_a_tool_is_not_given() {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("greedy"), &["cat"]);
    let secret = home.work().join("secret");
    write(&secret.join("file"), b"canary");
    let marker = home.work().join("hooked");
    let mut config = runtime_config(&["sh", "-c", "ls /host; id -u; cat /proc/self/status"]);
    config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/host", "type": "bind", "source": secret, "options": ["rbind", "rw"],
    }));
    config["hooks"] = json!({"prestart": [{"path": "/bin/touch", "args": ["touch", marker]}]});
    config["root"]["readonly"] = json!(false);
    config["process"]["noNewPrivileges"] = json!(false);
    write(&bundle.join("config.json"), config.to_string().as_bytes());
    let ended = home
        .axocoatl(&["run", "./greedy", "--input", "1"])
        .succeeds();
    let output = ended.json();
    let output = output.as_str().unwrap();
    assert!(!output.contains("file\n"), "{output}");
    assert!(!marker.exists(), "a hook ran on the host");
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(output.contains(line), "{line}\n{output}");
    }
    if rustix::process::geteuid().is_root() {
        assert!(output.starts_with("65534\n"), "{output}");
    }
}
