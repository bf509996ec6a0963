//! What is refused is 126, before anything runs, and the message says what would help.

use crate::support::{Home, PROBE, add_tool, write};

const ECHO: &str = r#"{"op":"echo"}"#;

#[test]
fn a_limit_above_the_ceiling_is_refused_wherever_it_is_asked() {
    let home = Home::new();
    home.policy("[ceilings]\nmemory = \"32MiB\"\nwall = \"5s\"\n");
    home.probe(ECHO, &["--memory", "64MiB"]).exits(
        126,
        &[
            "limit memory",
            "above the ceiling",
            "ask for less",
            "[ceilings] in policy.toml",
        ],
    );
    let tool = add_tool(&home.work(), "greedy", "[limits]\nwall = \"1m\"\n");
    let tool = tool.to_str().unwrap();
    home.axocoatl(&["run", tool, "--input", ECHO])
        .exits(126, &["limit wall = 1m is above the ceiling of 5s"]);
    home.axocoatl(&["run", tool, "--input", ECHO, "--timeout", "4s"])
        .succeeds_silently();
}

#[test]
fn there_are_ceilings_without_a_policy_and_the_operator_may_raise_them() {
    let home = Home::new();
    home.probe(ECHO, &["--timeout", "2h"])
        .exits(126, &["limit wall = 2h is above the ceiling"]);
    home.policy("[ceilings]\nwall = \"3h\"\n");
    home.probe(ECHO, &["--timeout", "2h"]).succeeds_silently();
}

#[test]
fn a_ceiling_holds_for_a_tool_that_asks_for_nothing() {
    let home = Home::new();
    home.policy("[ceilings]\nmemory = \"16MiB\"\n");
    home.probe(r#"{"op":"alloc","bytes":33554432}"#, &[])
        .exits(137, &["memory limit"]);
}

#[test]
fn a_grant_that_the_policy_does_not_allow_is_refused() {
    let home = Home::new();
    let cases = [
        ("env = [\"TZ\"]", "env grant \"TZ\"", "--env"),
        (
            "network = [\"example.com:443\"]",
            "network grant \"example.com:443\"",
            "--net",
        ),
        (
            "mounts = [{ source = \"/etc\", target = \"/data\" }]",
            "mounts grant",
            "--mount",
        ),
        (
            "mounts = [{ source = \"..\", target = \"/data\" }]",
            "mounts grant",
            "--mount",
        ),
        (
            "mounts = [{ source = \".\", target = \"/data\", mode = \"rw\" }]",
            "mounts grant",
            "--mount",
        ),
        (
            "secrets = [\"API_KEY\"]",
            "secrets grant \"API_KEY\"",
            "[grants]",
        ),
    ];
    for (grants, refused, help) in cases {
        let tool = add_tool(&home.work(), "asking", &format!("[grants]\n{grants}\n"));
        let ended = home
            .axocoatl(&["run", tool.to_str().unwrap(), "--input", ECHO])
            .exits(
                126,
                &["the policy does not allow", refused, "policy.toml", help],
            );
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn a_tool_may_read_what_lies_beside_it() {
    let home = Home::new();
    let grants = "[grants]\nmounts = [{ source = \"data\", target = \"/data\" }]\n";
    let tool = add_tool(&home.work(), "own", grants);
    write(&tool.join("data/x"), b"beside it");
    let input = r#"{"op":"read","path":"/data/x"}"#;
    let ended = home.axocoatl(&["run", tool.to_str().unwrap(), "--input", input]);
    assert_eq!(ended.succeeds_silently().json()["text"], "beside it");
}

#[test]
fn a_mount_whose_source_became_a_link_is_not_followed() {
    let home = Home::new();
    let grants = "[grants]\nmounts = [{ source = \"data\", target = \"/data\" }]\n";
    let tool = add_tool(&home.work(), "linking", grants);
    std::os::unix::fs::symlink("/etc", tool.join("data")).unwrap();
    let input = r#"{"op":"list","path":"/data"}"#;
    let ended = home
        .axocoatl(&["run", tool.to_str().unwrap(), "--input", input])
        .exits(125, &["opening the mount", "symbolic link"]);
    assert!(ended.stdout.is_empty(), "{ended}");
}

#[test]
fn a_network_grant_is_refused_on_wasm_and_not_left_out() {
    let home = Home::new();
    home.probe(ECHO, &["--net", "example.com:443"]).exits(
        126,
        &[
            "wasm: cannot give a network grant",
            "remove the network grant",
        ],
    );
}

#[test]
fn a_component_that_imports_wasi_http_is_refused() {
    let home = Home::new();
    // Otherwise sound: it is the import that is refused.
    let component = r#"(component
        (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    write(&home.work().join("http.wat"), component.as_bytes());
    home.axocoatl(&["run", "http.wat", "--input", "null"])
        .exits(
            126,
            &[
                "tool http needs",
                "wasi:http/outgoing-handler",
                "build it without that import",
            ],
        );
}

#[test]
fn a_module_that_imports_what_is_not_wasi_is_refused() {
    let home = Home::new();
    let module = r#"(module (import "env" "foo" (func)) (func (export "_start")))"#;
    write(&home.work().join("env.wat"), module.as_bytes());
    home.axocoatl(&["run", "env.wat", "--input", "null"]).exits(
        126,
        &["tool env needs", "env::foo", "build it without that import"],
    );
}

#[test]
fn a_manifest_cannot_name_a_command_of_the_host() {
    let home = Home::new();
    let tool = home.work().join("host");
    let text = "name = \"host\"\nrequires = \"native-trusted\"\n[run]\nwasm = \"tool.wasm\"\n";
    write(&tool.join("tool.toml"), text.as_bytes());
    home.axocoatl(&["run", tool.to_str().unwrap(), "--input", ECHO])
        .exits(125, &["tool.toml:2", "[native.NAME]"]);
}

#[test]
fn a_mount_source_that_does_not_exist_is_said() {
    let home = Home::new();
    home.axocoatl(&["run", PROBE, "--input", ECHO, "--mount", "./absent:/data"])
        .exits(125, &["./absent", "must be a directory that exists"]);
}
