//! A wrong command line is 2, before anything is done; a tool that is not there is 127.

use crate::support::{AXOCOATL, Home, PROBE};

#[test]
fn a_wrong_command_line_is_2_and_names_what_is_wrong() {
    let home = Home::new();
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["walk"], "walk"),
        (&["run"], "<TOOL>"),
        (&["run", PROBE, "--colour"], "--colour"),
        (
            &["run", PROBE, "--timeout", "10"],
            "write a number with a unit",
        ),
        (&["run", PROBE, "--timeout", "0s"], "zero"),
        (&["run", PROBE, "--memory", "lots"], "is not a size"),
        (
            &["run", PROBE, "--memory", "64"],
            "write a number with a unit",
        ),
        (&["run", PROBE, "--cpus", "0"], "between 0.01 and 1024"),
        (
            &["run", PROBE, "--cpus", "many"],
            "is not a number of cores",
        ),
        (&["run", PROBE, "--pids", "0"], "0"),
        (&["run", PROBE, "--fuel", "0"], "0"),
        (&["run", PROBE, "--fuel", "-1"], "-1"),
        (&["run", PROBE, "--tier", "docker"], "docker"),
        (
            &["run", PROBE, "--env", "1A=b"],
            "is not the name of an environment variable",
        ),
        (&["run", PROBE, "--env", "PATH=/"], "cannot be granted"),
        (
            &["run", PROBE, "--env", "AXOCOATL_CALL_ID=x"],
            "cannot be granted",
        ),
        (&["run", PROBE, "--mount", "data"], "SRC:DST"),
        (&["run", PROBE, "--mount", ".:data"], "absolute path"),
        (&["run", PROBE, "--mount", ".:/tmp"], "no place for a mount"),
        (&["run", PROBE, "--mount", ".:/a:rx"], "rx"),
        (&["run", PROBE, "--net", "example.com"], "HOST:PORT"),
        (
            &["run", PROBE, "--net", "169.254.169.254:80"],
            "never granted",
        ),
        (
            &["run", PROBE, "--input", "1", "--input-file", "f"],
            "--input-file",
        ),
        (&["image", "pull"], "<REF>"),
        (&["image", "pull", "UPPER"], "UPPER"),
        (&["image", "import"], "<FILE|DIR>"),
        (&["image", "rm"], "<REF>"),
        (&["tool", "rm", "../x"], "../x"),
        (&["tool", "rm"], "<NAME>"),
        (&["completions", "tcsh"], "tcsh"),
    ];
    for (arguments, phrase) in cases {
        let ended = home.axocoatl(arguments).exits(2, &[phrase]);
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended}");
    }
    assert!(
        crate::support::entries(&home.path()).is_empty(),
        "nothing was done"
    );
}

#[test]
fn help_and_version_are_results() {
    let home = Home::new();
    let help = home.axocoatl(&["--help"]).succeeds_silently();
    for code in [
        "124", "125", "126", "127", "130", "134", "137", "152", "153",
    ] {
        assert!(help.out().contains(code), "{code} is not explained\n{help}");
    }
    let version = home.axocoatl(&["--version"]).succeeds_silently();
    assert_eq!(
        version.out(),
        format!("axocoatl {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn an_unknown_tool_is_127_and_says_where_it_was_looked_for() {
    let home = Home::new();
    let user_tools = home.user_tools();
    for verb in [&["run"][..], &["tool", "show"], &["tool", "check"]] {
        let input = if verb == ["run"] {
            &["--input", "1"][..]
        } else {
            &[]
        };
        home.axocoatl(&[verb, &["absent"], input].concat()).exits(
            127,
            &[
                "there is no tool absent",
                user_tools.to_str().unwrap(),
                "axocoatl tool add DIR",
            ],
        );
    }
}

#[test]
fn a_missing_path_is_127() {
    let home = Home::new();
    std::fs::create_dir(home.work().join("empty")).unwrap();
    for path in ["./absent", "absent.wasm", "./absent.wat", "/absent/tool"] {
        home.axocoatl(&["run", path, "--input", "1"])
            .exits(127, &[path, "does not exist"]);
    }
    home.axocoatl(&["run", "./empty", "--input", "1"])
        .exits(127, &["tool.toml", "check that it exists"]);
}

#[test]
fn a_name_that_could_be_no_tools_is_127_and_says_what_a_name_is() {
    let home = Home::new();
    for name in ["UPPER", "a b", "..", ".", "ü", "-x", &"a".repeat(1 << 16)] {
        let ended = home.axocoatl(&["run", "--input", "1", "--", name]);
        assert_eq!(ended.code(), Some(127), "{name:.80}: {ended}");
        assert!(
            ended.stderr.len() < 4096,
            "a name of any length is not repeated: {ended}"
        );
    }
}

#[test]
fn a_relative_home_is_refused() {
    let home = Home::new();
    let mut command = home.command(&["run", PROBE, "--input", r#"{"op":"echo"}"#]);
    command.env("AXOCOATL_HOME", "relative");
    crate::process::Running::start(command, b"")
        .end()
        .exits(125, &["AXOCOATL_HOME", "absolute"]);
    assert!(crate::support::entries(&home.work()).is_empty());
}

#[test]
fn completions_are_scripts_for_their_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.axocoatl(&["completions", shell]).succeeds_silently();
        for word in ["axocoatl", "doctor", "min-tier"] {
            assert!(script.out().contains(word), "{shell}: {word}");
        }
    }
    let mut bash = home.program("bash");
    bash.args([
        "-c",
        "eval \"$(\"$0\" completions bash)\" && complete -p axocoatl",
        AXOCOATL,
    ]);
    crate::process::Running::start(bash, b"").end().succeeds();
}
