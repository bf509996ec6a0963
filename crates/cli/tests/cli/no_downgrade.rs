//! A tool that needs a stronger tier is refused where there is none, never run on a weaker one.

use serde_json::{Value, json};

use crate::containers::{IMAGE, import};
use crate::ended::Ended;
use crate::process::Running;
use crate::support::{Home, PROBE, add_tool, entries, write};

const ECHO: &str = r#"{"op":"echo"}"#;

/// A tool of `requires` that is an image, as the manifest of a Python tool has it.
fn image_tool(home: &Home, requires: &str) -> String {
    let manifest = format!(
        "name = \"imaged\"\nrequires = \"{requires}\"\n[run]\nimage = \"example.com/x@sha256:{}\"\n\
         command = [\"python3\"]\n",
        "0".repeat(64)
    );
    let tool = home.work().join("imaged");
    write(&tool.join("tool.toml"), manifest.as_bytes());
    tool.to_str().unwrap().to_owned()
}

/// Runs on a host that has nothing: no program is found, no device either.
fn run_without_path(home: &Home, arguments: &[&str]) -> Ended {
    let mut command = home.command(arguments);
    let empty = home.tmp().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    command.env("PATH", &empty);
    Running::start(command, b"").end()
}

/// The reason why `tier` was not chosen, from the JSON form of a placement.
fn excluded(placement: &Value, tier: &str) -> String {
    let candidates = placement["candidates"].as_array().unwrap();
    let candidate = candidates.iter().find(|c| c["tier"] == tier).unwrap();
    assert_eq!(candidate["chosen"], false);
    candidate["excluded"].as_str().unwrap().to_owned()
}

#[test]
fn a_tool_that_requires_a_stronger_tier_is_refused_where_the_host_has_nothing() {
    let home = Home::new();
    for (requires, minimum) in [
        ("python", "microvm"),
        ("shell", "microvm"),
        ("arbitrary", "microvm"),
    ] {
        let tool = image_tool(&home, requires);
        let ended = run_without_path(&home, &["run", &tool, "--input", ECHO]).exits(
            126,
            &[
                "is refused",
                &format!("no tier at or above {minimum} can run it"),
                "microvm: not available",
            ],
        );
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

/// It is WebAssembly, which this host could run; what it requires counts.
#[test]
fn a_wasm_program_that_is_declared_to_need_more_does_not_run_as_wasm() {
    let home = Home::new();
    let tool = add_tool(
        &home.work(),
        "declared",
        "[isolation]\nmin_tier = \"microvm\"\n",
    );
    let tool = tool.to_str().unwrap();
    for more in [
        &[][..],
        &["--min-tier", "wasm"],
        &["--tier", "wasm"],
        &["--tier", "none"],
    ] {
        run_without_path(&home, &[&["run", tool, "--input", ECHO], more].concat()).exits(
            126,
            &[
                "no tier at or above microvm can run it",
                "wasm: weaker than the minimum",
            ],
        );
    }
    let text = std::fs::read_to_string(home.work().join("declared/tool.toml")).unwrap();
    let text = text
        .replace("min_tier = \"microvm\"", "")
        .replace("[run]", "requires = \"arbitrary\"\n[run]");
    write(&home.work().join("declared/tool.toml"), text.as_bytes());
    run_without_path(&home, &["run", tool, "--input", ECHO])
        .exits(126, &["no tier at or above microvm can run it"]);
}

#[test]
fn the_callers_tier_and_minimum_are_refused_where_missing() {
    let home = Home::new();
    for (option, tier, wasm) in [
        ("--tier", "oci", "wasm: not the tier asked for"),
        ("--tier", "microvm", "wasm: not the tier asked for"),
        ("--min-tier", "oci", "wasm: weaker than the minimum"),
        ("--min-tier", "microvm", "wasm: weaker than the minimum"),
    ] {
        let ended = run_without_path(&home, &["run", PROBE, "--input", ECHO, option, tier])
            .exits(126, &["is refused: no tier at or above", wasm]);
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn nothing_runs_on_the_host_itself_because_the_caller_asks() {
    let home = Home::new();
    home.probe(ECHO, &["--tier", "none"])
        .exits(126, &["none: weaker than the minimum"]);
    let ended = home
        .probe(ECHO, &["--min-tier", "none", "--json"])
        .succeeds();
    assert_eq!(ended.json()["tier"], "wasm");
}

#[test]
fn a_minimum_the_operator_wrote_down_is_not_lowered_by_the_caller() {
    let home = Home::new();
    home.policy("[tools.probe]\nmin_tier = \"microvm\"\n");
    for more in [&[][..], &["--min-tier", "wasm"], &["--tier", "wasm"]] {
        home.probe(ECHO, more)
            .exits(126, &["no tier at or above microvm can run it"]);
    }
    home.policy("[min_tier]\npython = \"microvm\"\n");
    let tool = image_tool(&home, "python");
    let ended = home
        .axocoatl(&["run", &tool, "--input", ECHO, "--min-tier", "oci", "--json"])
        .exits(126, &[]);
    assert_eq!(ended.json()["error"]["placement"]["minimum"], "microvm");
}

/// What is refused here is refused for the image alone, which nobody has.
#[test]
fn the_caller_may_lower_a_built_in_minimum_to_oci() {
    let home = Home::new();
    let tool = image_tool(&home, "python");
    let ended = run_without_path(
        &home,
        &["run", &tool, "--input", ECHO, "--min-tier", "oci", "--json"],
    );
    let text = ended.json().to_string();
    assert!(
        text.contains("which is not here") || text.contains("oci: not available"),
        "{ended}"
    );
}

#[test]
fn explain_shows_every_candidate_with_its_reason() {
    let home = Home::new();
    let ran = home.probe(ECHO, &["--explain"]).succeeds();
    let lines: Vec<_> = ran.err().lines().collect();
    assert_eq!(lines[0], "requires  wasm (a WebAssembly program)", "{ran}");
    assert!(lines[1].starts_with("minimum   wasm (the default"), "{ran}");
    let expected = [
        "candidate none: weaker than the minimum",
        "candidate wasm: chosen",
        "candidate oci: not needed, a weaker tier serves",
        "candidate microvm: not needed, a weaker tier serves",
        "decision  wasm",
    ];
    assert_eq!(lines[2..], expected, "{ran}");

    let tool = image_tool(&home, "python");
    let refused = run_without_path(&home, &["run", &tool, "--input", ECHO, "--explain"]).exits(
        126,
        &[
            "requires  python",
            "minimum   microvm",
            "candidate none: weaker than the minimum",
            "candidate wasm: weaker than the minimum",
            "candidate oci: weaker than the minimum",
            "candidate microvm: not available: ",
            "decision  refused",
        ],
    );
    assert!(refused.stdout.is_empty(), "{refused}");
}

#[test]
fn json_has_every_candidate_with_its_reason_too() {
    let home = Home::new();
    let ran = home.probe(ECHO, &["--json"]).succeeds().json();
    let placement = &ran["placement"];
    assert_eq!(placement["tier"], "wasm");
    assert_eq!(
        placement["candidates"][1],
        json!({"tier": "wasm", "chosen": true, "excluded": null})
    );
    assert_eq!(excluded(placement, "none"), "weaker than the minimum");
    assert!(excluded(placement, "microvm").starts_with("not needed"));

    let tool = image_tool(&home, "python");
    let refused = run_without_path(&home, &["run", &tool, "--input", ECHO, "--json"]).json();
    let placement = &refused["error"]["placement"];
    assert_eq!(refused["error"]["exit_code"], 126);
    assert_eq!(placement["tier"], Value::Null);
    assert_eq!(placement["candidates"].as_array().unwrap().len(), 4);
    assert_eq!(excluded(placement, "wasm"), "weaker than the minimum");
    assert!(excluded(placement, "microvm").starts_with("not available: "));
}

/// Where a controller of cgroup v1 is mounted, if it is.
fn hierarchy(controller: &str) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_v1 = after.next() == Some("cgroup");
        let has = after.next_back()?.split(',').any(|word| word == controller);
        (is_v1 && has).then(|| before.split(' ').nth(4).unwrap().to_owned())
    })
}

/// Runs a container that would say so, on a host that `hide`, a shell's words, has changed: in a
/// mount namespace of its own.
fn run_where(home: &Home, hide: &str, more: &[&str]) -> Ended {
    let mut command = home.program("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{hide} && exec \"$@\""))
        .args(["sh", crate::support::AXOCOATL])
        .args(["run", "--image", IMAGE, "--mount", "./out:/out:rw"])
        .args(more)
        .args(["--", "sh", "-c", "echo x > /out/started; echo 1"]);
    Running::start(command, b"").end()
}

/// Needs root, to hide it.
#[test]
fn where_a_cgroup_controller_is_hidden_nothing_runs() {
    let home = Home::new();
    import(&home);
    let out = home.shared_directory("out");
    run_where(&home, "true", &[]).succeeds();
    let ran = || entries(&out).pop();
    std::fs::remove_file(ran().expect("it runs where nothing is hidden")).unwrap();
    for more in [&[][..], &["--min-tier", "oci"], &["--min-tier", "none"]] {
        for controller in ["cpu", "memory", "pids"] {
            // Of cgroup v2 no single one can be hidden.
            let Some(path) = hierarchy(controller) else {
                continue;
            };
            let ended = run_where(&home, &format!("umount {path}"), more)
                .exits(126, &["is refused", "oci: not available", controller]);
            assert!(ended.stdout.is_empty(), "{ended}");
            assert_eq!(ran(), None, "without {controller}: {ended}");
        }
        let all = "umount -R -l /sys/fs/cgroup";
        let ended = run_where(&home, all, more).exits(126, &["is refused", "oci: not available"]);
        assert!(ended.stdout.is_empty(), "{ended}");
        assert_eq!(ran(), None, "without any: {ended}");
    }
}
