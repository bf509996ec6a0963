//! `run --image`: an image of the store, ad hoc, under the contract of tools.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::containers::{IMAGE, Tar, import, import_configured, import_tar, start_staying};
use crate::ended::Ended;
use crate::process::Running;
use crate::support::{AXOCOATL, Home, entries, write};

/// `run --image` of BusyBox with options and a command.
#[track_caller]
fn run(home: &Home, options: &[&str], command: &[&str]) -> Ended {
    home.axocoatl(&[&["run", "--image", IMAGE], options, &["--"], command].concat())
}

#[test]
fn the_command_gets_the_input_and_its_output_comes_back() {
    let home = Home::new();
    import(&home);
    let input = r#"{"a": [1, 2.50]}"#;
    for command in [
        &["cat"][..],
        &["/bin/cat"],
        &["cat", "/axocoatl/input.json"],
    ] {
        let ended = run(&home, &["--input", input], command);
        assert_eq!(ended.succeeds_silently().out(), format!("{input}\n"));
    }
    let command = home.command(&["run", "--image", IMAGE, "--", "cat"]);
    let piped = Running::start(command, input.as_bytes()).end();
    assert_eq!(piped.succeeds_silently().out(), format!("{input}\n"));
    let script = "echo '{\"from\":\"file\"}' > /axocoatl/output.json; echo ignored";
    let ended = run(&home, &[], &["sh", "-c", script]).succeeds_silently();
    assert_eq!(ended.out(), "{\"from\":\"file\"}\n");
}

/// Ad hoc commands mostly take none.
#[test]
fn without_an_input_it_is_null() {
    let home = Home::new();
    import(&home);
    let ended = run(&home, &[], &["cat"]).succeeds_silently();
    assert_eq!(ended.out(), "null\n");
    let mut on_terminal = home.program("script");
    let command = format!("{AXOCOATL} run --image {IMAGE} -- cat");
    on_terminal.args(["-qec", &command, "/dev/null"]);
    on_terminal.stdin(Stdio::null());
    let ended = Running::start(on_terminal, b"").end().succeeds();
    assert_eq!(ended.out().trim(), "null");
    // What is no JSON is an error all the same.
    let command = home.command(&["run", "--image", IMAGE, "--", "cat"]);
    Running::start(command, b"no json")
        .end()
        .exits(125, &["standard input", "not valid JSON"]);
}

#[test]
fn text_comes_back_as_one_json_string_and_the_log_on_standard_error() {
    let home = Home::new();
    import(&home);
    let ended = run(&home, &[], &["sh", "-c", "echo two words; echo a log >&2"]).succeeds();
    assert_eq!(ended.json(), "two words\n");
    assert_eq!(ended.err(), "a log\n");
}

#[test]
fn without_a_command_it_is_the_images_own() {
    let home = Home::new();
    import_configured(
        &home,
        &json!({"Entrypoint": ["/bin/echo"], "Cmd": ["own", "command"]}),
    );
    let own = home
        .axocoatl(&["run", "--image", IMAGE])
        .succeeds_silently();
    assert_eq!(own.json(), "own command\n");
    // As for tools, a command stands in for all of it.
    let other = run(&home, &[], &["cat"]).succeeds_silently();
    assert_eq!(other.out(), "null\n");

    let bare = Home::new();
    import(&bare);
    bare.axocoatl(&["run", "--image", IMAGE])
        .exits(125, &["tool box cannot be run", "says no command"]);
}

#[test]
fn the_image_is_found_by_every_name_it_has() {
    let home = Home::new();
    let digest = import(&home);
    let pinned = format!("{IMAGE}@{digest}");
    let short = &digest["sha256:".len()..][..12];
    for name in [IMAGE, &pinned, &digest, short] {
        let ended = home.axocoatl(&["run", "--image", name, "--", "cat"]);
        assert_eq!(ended.succeeds_silently().out(), "null\n", "{name}");
    }
}

#[test]
fn its_exit_code_is_the_commands() {
    let home = Home::new();
    import(&home);
    for code in [0, 1, 3, 125, 126, 200, 255] {
        let ended = run(&home, &[], &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(ended.code(), Some(code), "{ended}");
    }
}

#[test]
fn every_limit_ends_it_with_its_own_code() {
    let home = Home::new();
    import(&home);
    let command = home.command(&[
        "run",
        "--image",
        IMAGE,
        "--timeout",
        "300ms",
        "--",
        "sleep",
        "600",
    ]);
    Running::start(command, b"")
        .end_within(Duration::from_secs(30))
        .exits(124, &["tool box"]);
    run(&home, &["--memory", "16MiB"], &["tail", "/dev/zero"]).exits(137, &["tool box"]);
    run(&home, &[], &["yes"]).exits(153, &["tool box"]);
    let forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait";
    let ended = run(&home, &["--pids", "4"], &["sh", "-c", forks]);
    assert!(ended.err().contains("fork"), "{ended}");
}

/// WebAssembly has instructions to count; a container has none.
#[test]
fn what_the_tier_cannot_give_is_refused() {
    let home = Home::new();
    import(&home);
    run(&home, &["--fuel", "1000"], &["cat"]).exits(126, &["cannot enforce limit fuel"]);
    run(&home, &["--net", "example.com:443"], &["cat"])
        .exits(126, &["cannot give a network grant"]);
    run(&home, &["--tier", "wasm"], &["cat"]).exits(126, &["oci: not the tier asked for"]);
    run(&home, &["--min-tier", "microvm"], &["cat"]).exits(126, &["oci: weaker than the minimum"]);
}

#[test]
fn its_environment_is_the_contracts_the_images_and_what_is_granted() {
    let home = Home::new();
    import_configured(
        &home,
        &json!({"Env": ["PATH=/bin", "OF_IMAGE=yes", "HOME=/evil", "AXOCOATL_TOOL=evil"]}),
    );
    let mut command = home.command(&[
        "run",
        "--image",
        IMAGE,
        "--env",
        "GIVEN=a=b c",
        "--env",
        "FROM_HOST",
        "--",
        "env",
    ]);
    command.env("FROM_HOST", "sings").env("CANARY", "hidden");
    let ended = Running::start(command, b"")
        .end()
        .succeeds_silently()
        .json();
    let mut seen: Vec<_> = ended.as_str().unwrap().lines().collect();
    seen.sort_unstable();
    let call_id = seen
        .iter()
        .position(|line| line.starts_with("AXOCOATL_CALL_ID="))
        .unwrap();
    seen.remove(call_id);
    let expected = [
        "AXOCOATL_TOOL=box",
        "FROM_HOST=sings",
        "GIVEN=a=b c",
        "HOME=/tmp",
        "OF_IMAGE=yes",
        "PATH=/bin",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn it_is_an_unprivileged_user_on_a_root_that_cannot_be_written() {
    let home = Home::new();
    import(&home);
    let id = run(&home, &[], &["id", "-u"]).succeeds().json();
    if rustix::process::geteuid().is_root() {
        assert_eq!(id, 65534);
    }
    let script = "echo x > /x; echo x > /bin/x; echo x > /tmp/x && cat /tmp/x";
    let ended = run(&home, &[], &["sh", "-c", script]).succeeds();
    assert_eq!(ended.json(), "x\n");
    assert_eq!(
        ended.err().matches("Read-only file system").count(),
        2,
        "{ended}"
    );
    let network = run(&home, &[], &["ls", "/sys/class/net"]).succeeds().json();
    assert_eq!(network, "lo\n");
}

#[test]
fn a_granted_mount_is_there_read_only_unless_it_says_rw() {
    let home = Home::new();
    import(&home);
    let out = home.shared_directory("data");
    write(&out.join("in.txt"), b"\"from the host\"");
    let read = run(
        &home,
        &["--mount", "./data:/data"],
        &["cat", "/data/in.txt"],
    );
    assert_eq!(read.succeeds_silently().out(), "\"from the host\"\n");
    let writes = ["sh", "-c", "echo from the tool > /data/out.txt"];
    let refused = run(&home, &["--mount", "./data:/data"], &writes);
    assert_ne!(refused.code(), Some(0), "{refused}");
    assert!(!out.join("out.txt").exists());
    run(&home, &["--mount", "./data:/data:rw"], &writes).succeeds_silently();
    assert_eq!(fs::read(out.join("out.txt")).unwrap(), b"from the tool\n");
    write(&home.work().join("file"), b"x");
    run(&home, &["--mount", "./file:/data"], &["cat"]).exits(125, &["file", "must be a directory"]);
}

#[test]
fn explain_says_why_it_ran_in_a_container() {
    let home = Home::new();
    import(&home);
    let ended = run(&home, &["--explain"], &["cat"]).succeeds();
    for phrase in [
        "requires  container-image",
        "candidate wasm: weaker than the minimum",
        "candidate oci: chosen",
        "decision  oci",
    ] {
        assert!(ended.err().contains(phrase), "{phrase}\n{ended}");
    }
}

#[test]
fn json_has_the_whole_outcome_and_the_digest_of_the_image() {
    let home = Home::new();
    let digest = import(&home);
    let ended = run(&home, &["--json", "--input", "[1]"], &["cat"]).succeeds_silently();
    let outcome = ended.json();
    assert_eq!(outcome["tool"], "box");
    assert_eq!(outcome["tier"], "oci");
    assert_eq!(outcome["output"], json!([1]));
    assert_eq!(outcome["digest"], digest);
    assert_eq!(outcome["termination"], json!({"kind": "exited", "code": 0}));
    assert!(outcome["usage"]["wall_us"].as_u64().unwrap() > 0);
    assert!(outcome["usage"]["peak_memory"].as_u64().unwrap() > 0);
    let records = home.audit();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["tool"], "box");
}

#[test]
fn an_image_and_a_tool_exclude_each_other() {
    let home = Home::new();
    for (arguments, phrase) in [
        (&["run", "--image", IMAGE, "tool"][..], "--image"),
        (&["run", "tool", "--input", "1", "--", "cat"], "[CMD]"),
        (
            &["run", "--input", "1", "--", "tool", "argument"],
            "--image REF -- CMD",
        ),
        (&["run", "--image", ""], "--image"),
        (&["run", "--image"], "--image"),
    ] {
        let ended = home.axocoatl(arguments).exits(2, &[phrase]);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended}");
    }
}

#[test]
fn an_image_that_is_not_there_is_127_and_says_how_to_get_it() {
    let home = Home::new();
    import(&home);
    let before = entries(&home.path().join("data/images/blobs/sha256"));
    for name in [
        "example.org/absent:1",
        "absent",
        &format!("{IMAGE}@sha256:{}", "0".repeat(64)),
    ] {
        let ended = home
            .axocoatl(&["run", "--image", name, "--json", "--", "cat"])
            .exits(127, &[name, "axocoatl image pull"]);
        assert_eq!(ended.json()["error"]["exit_code"], 127);
    }
    assert_eq!(
        entries(&home.path().join("data/images/blobs/sha256")),
        before
    );
}

#[test]
fn a_command_that_is_not_in_the_image_is_named() {
    let home = Home::new();
    import(&home);
    for (command, problem) in [
        ("/bin/absent", "is not in its root file system"),
        ("absent", "is not in its root file system"),
        ("/bin", "is not an executable file"),
    ] {
        run(&home, &[], &[command]).exits(125, &["tool box cannot be run", command, problem]);
    }
}

#[test]
fn an_interrupted_container_ends_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let home = Home::new();
        let stay = "trap '' INT TERM; while true; do sleep 1; done";
        let running = start_staying(&home, stay);
        running.signal(signal);
        running
            .end_within(Duration::from_secs(30))
            .exits(code, &["interrupted"]);
        assert_eq!(home.audit()[0]["result"], "cancelled");
        assert!(entries(&home.owners()).is_empty());
    }
}

#[test]
fn a_tools_manifest_may_name_an_image_a_command_and_files() {
    let home = Home::new();
    import(&home);
    let tool = home.work().join("counted");
    let manifest = format!(
        "name = \"counted\"\n[run]\nimage = \"{IMAGE}\"\ncommand = [\"sh\", \"/tool/main.sh\"]\n\
         files = \"src\"\n"
    );
    write(&tool.join("tool.toml"), manifest.as_bytes());
    write(&tool.join("src/main.sh"), b"cat; cat /tool/more/data\n");
    write(&tool.join("src/more/data"), b"   \n");
    let path = tool.to_str().unwrap();
    let ended = home.axocoatl(&["run", path, "--input", "7"]);
    assert_eq!(ended.succeeds_silently().json(), 7);
    home.axocoatl(&["tool", "check", path]).succeeds_silently();
    let shown = home.axocoatl(&["tool", "show", path, "--json"]).json();
    assert_eq!(shown["run"]["image"], IMAGE);
    assert_eq!(shown["placement"]["tier"], "oci");

    home.axocoatl(&["tool", "add", path]).succeeds_silently();
    let ended = home.axocoatl(&["run", "counted", "--input", "8"]);
    assert_eq!(ended.succeeds_silently().json(), 8);
    // For tools an empty input is no input.
    home.axocoatl(&["run", "counted"])
        .exits(125, &["there is no input"]);
}

#[test]
fn a_python_tool_runs_in_a_container_only_when_the_operator_says_so() {
    let home = Home::new();
    import(&home);
    let manifest = format!(
        "name = \"imaged\"\nrequires = \"python\"\n[run]\nimage = \"{IMAGE}\"\ncommand = [\"cat\"]\n"
    );
    write(&home.work().join("imaged/tool.toml"), manifest.as_bytes());
    home.axocoatl(&["run", "./imaged", "--input", "1"])
        .exits(126, &["no tier at or above microvm"]);
    let ended = home.axocoatl(&["run", "./imaged", "--input", "1", "--min-tier", "oci"]);
    assert_eq!(ended.succeeds_silently().json(), 1);
}

#[test]
fn a_symbolic_link_in_an_image_leads_nowhere_but_into_it() {
    let home = Home::new();
    let secret = home.work().join("secret");
    write(&secret, b"\"canary\"");
    let tar = Tar::root().symlink("out", secret.to_str().unwrap()).end();
    import_tar(&home, IMAGE, &tar);
    let ended = run(&home, &[], &["cat", "/out"]);
    assert_ne!(ended.code(), Some(0), "{ended}");
    assert!(!ended.out().contains("canary"), "{ended}");
}
